package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"poller/api"
)

// listen makes the servers. The API's listener is open already.
func (a *app) listen(ctx context.Context, registry *prometheus.Registry) (err error) {
	c := a.started
	if c.API.TLSCert != "" {
		a.apiListener = tls.NewListener(a.apiListener, &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.cert.Load(), nil },
		})
	}
	if a.metricsListener, err = new(net.ListenConfig).Listen(ctx, "tcp", c.Metrics.Listen); err != nil {
		return fmt.Errorf("metrics.listen: %w", err)
	}
	if a.uploadTaker != nil {
		if a.uploadListener, err = new(net.ListenConfig).Listen(ctx, "tcp", c.Uploads.Listen); err != nil {
			return fmt.Errorf("uploads.listen: %w", err)
		}
		a.uploadServer = a.uploadTaker.Server()
		a.uploadServer.Handler = a.counted(a.uploadServer.Handler)
		a.uploadServer.ErrorLog = libraryLog(a.log.Named("uploads"))
		api.LimitConnections(a.uploadServer, clientConns(a.openFiles, c.Fetch.Workers), true, a.log.Named("uploads"))
	}
	a.apiServer = api.NewServer(a.api, clientConns(a.openFiles, c.Fetch.Workers), a.log.Named("api"))
	a.apiServer.Handler = a.counted(a.apiServer.Handler)
	a.apiServer.ErrorLog = libraryLog(a.log.Named("api"))
	a.metricsServer = &http.Server{
		Handler:           a.counted(a.observation(registry)),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          libraryLog(a.log.Named("metrics")),
	}
	api.LimitConnections(a.metricsServer, leastConns, false, a.log.Named("metrics"))
	return nil
}

// counted lets requests be waited for.
func (a *app) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.handlers.RLock()
		defer a.handlers.RUnlock()
		h.ServeHTTP(w, r)
	})
}

// observation serves /metrics, /healthz and /readyz (SPEC §7).
func (a *app) observation(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	// No bound on scrapes at once but that on connections: those who don't read their answers would keep others out.
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n") // a prober that left needs no answer, here and below
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !a.ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "not ready\n")
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	return mux
}

// apiURL is where a client on this machine reaches the API.
func (a *app) apiURL() string {
	c := *a.started
	if a.apiListener.Addr().Network() == "tcp" {
		c.API.Listen = a.apiListener.Addr().String()
	}
	return apiAddress(&c)
}

// metricsURL is where metrics and health are.
func (a *app) metricsURL() string { return "http://" + a.metricsListener.Addr().String() }

// uploadsField says where the proxy of uploads.public_url finds us, if uploads are taken.
func (a *app) uploadsField() zap.Field {
	if a.uploadListener == nil {
		return zap.Skip()
	}
	return zap.String("uploads", "http://"+a.uploadListener.Addr().String())
}
