package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/go-json-experiment/json"
)

// Limits on what a request may bring.
const (
	maxBody         = 1 << 20 // bytes of a JSON body
	bodyReadTimeout = 30 * time.Second
)

// Media types that requests may have.
const (
	typeJSON       = "application/json"
	typeMergePatch = "application/merge-patch+json"
	typeNDJSON     = "application/x-ndjson"
)

// An operation is one route, and its part of the OpenAPI document.
type operation struct {
	method, path string
	id           string // operationId
	tag          string
	summary      string
	status       int   // of success; 0: 200, or 204 without a body
	also         int   // a second status of success, with the same body; 0: none
	errors       []int // beside 401, 403, 421, 422 and 500
	body         any   // a value of the body's type; nil: no body
	bodyTypes    []string
	optional     bool // the body may be left out
}

// Shapes of what handlers take and give; huma reads the names of the fields.
type (
	none   struct{}
	bodied struct {
		RawBody []byte `contentType:"application/json"`
	}
	sellerParams struct {
		SellerID string `path:"seller_id" maxLength:"128" pattern:"^[A-Za-z0-9._~-]+$"`
	}
	orderParams struct {
		OrderID string `path:"order_id" maxLength:"128" pattern:"^[A-Za-z0-9._~-]+$"`
	}
	out[T any]  struct{ Body T }
	made[T any] struct {
		Status   int
		Location string `header:"Location"`
		Body     T
	}
)

// route makes the router with every route, and the document from the same source.
func (a *API) route() error {
	format := huma.Format{Marshal: marshal, Unmarshal: func([]byte, any) error {
		return errors.New("bodies are read by decode")
	}}
	a.mux = http.NewServeMux()
	a.router = humago.New(a.mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "poller", Version: a.opt.Version,
				Description: "Sellers, orders, sweeps and events. Errors are problems (RFC 9457). Times are RFC 3339 in UTC.",
			},
			Components: &huma.Components{
				Schemas:         huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}},
			},
			Security: []map[string][]string{{"token": {}}},
		},
		Formats:                      map[string]huma.Format{typeJSON: format, "json": format},
		DefaultFormat:                typeJSON,
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{humanise},
	})
	a.router.UseMiddleware(a.mediaType)
	a.doc = a.router.OpenAPI()
	a.routeSellers()
	a.routeOrders()
	a.routeSubmit()
	a.routeFiles()
	a.routeUploads()
	a.routeSweeps()
	a.routeEvents()
	a.routeWebhook()
	a.routeOperations()
	a.routeBackup()
	a.routeDocument()
	a.refine()
	doc, err := json.Marshal(a.doc)
	if err != nil {
		return fmt.Errorf("api: the OpenAPI document: %w", err)
	}
	a.document = doc
	return nil
}

// handle adds a route whose answer is a value. The handler's errors must come from API.fail or be Problems.
func handle[I, O any](a *API, op operation, h func(context.Context, *I) (*O, error)) {
	h2 := op.huma(a)
	huma.Register(a.router, h2, h)
	a.describe(op)
}

// handleRaw adds a route that reads its request and writes its answer itself.
// I holds its parameters for the document; they are checked before h runs.
func handleRaw[I any](a *API, op operation, h func(http.ResponseWriter, *http.Request, *I)) {
	huma.Register(a.router, op.huma(a), func(_ context.Context, in *I) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			r, w := humago.Unwrap(ctx)
			h(w, r, in)
		}}, nil
	})
	a.describe(op)
}

// huma makes the router's operation.
func (op operation) huma(a *API) huma.Operation {
	o := huma.Operation{
		Method: op.method, Path: op.path, OperationID: op.id, Summary: op.summary, Tags: []string{op.tag},
		DefaultStatus:    op.status,
		MaxBodyBytes:     maxBody + 1, // the router refuses a body of exactly so many
		BodyReadTimeout:  bodyReadTimeout,
		SkipValidateBody: true,
		Responses:        map[string]*huma.Response{},
	}
	refused := &huma.MediaType{Schema: a.schema(Problem{})}
	codes := append([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusMisdirectedRequest,
		http.StatusUnprocessableEntity, http.StatusInternalServerError}, op.errors...)
	if op.body != nil {
		codes = append(codes, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	for _, code := range codes {
		o.Responses[strconv.Itoa(code)] = &huma.Response{
			Description: http.StatusText(code),
			Content:     map[string]*huma.MediaType{problemType: refused},
		}
	}
	return o
}

// describe completes the document's operation: the body, and a second success.
func (a *API) describe(op operation) {
	o := a.documented(op.method, op.path)
	if op.body != nil {
		content := map[string]*huma.MediaType{}
		for _, t := range append([]string{typeJSON}, op.bodyTypes...) {
			content[t] = &huma.MediaType{Schema: a.schema(op.body)}
		}
		// The router keeps the pointer: what is set here is what it goes by.
		if o.RequestBody == nil {
			o.RequestBody = &huma.RequestBody{}
		}
		o.RequestBody.Content = content
		o.RequestBody.Required = !op.optional
	}
	if op.also != 0 {
		o.Responses[strconv.Itoa(op.also)] = &huma.Response{
			Description: http.StatusText(op.also),
			Content:     o.Responses[strconv.Itoa(o.DefaultStatus)].Content,
		}
	}
}

// documented finds an operation in the document.
func (a *API) documented(method, path string) *huma.Operation {
	item := a.doc.Paths[path]
	switch method {
	case http.MethodGet:
		return item.Get
	case http.MethodPut:
		return item.Put
	case http.MethodPost:
		return item.Post
	case http.MethodPatch:
		return item.Patch
	default:
		return item.Delete
	}
}

func (a *API) schema(v any) *huma.Schema {
	return a.doc.Components.Schemas.Schema(reflect.TypeOf(v), true, "")
}

// mediaType refuses bodies of a type that the operation does not name (415).
// A body without a type is taken for JSON.
func (a *API) mediaType(ctx huma.Context, next func(huma.Context)) {
	given := ctx.Header("Content-Type")
	if body := ctx.Operation().RequestBody; body != nil && given != "" {
		t, _, err := mime.ParseMediaType(given)
		if err != nil || body.Content[t] == nil {
			_, w := humago.Unwrap(ctx)
			writeProblem(w, problem(http.StatusUnsupportedMediaType, "this media type is not taken here"))
			return
		}
	}
	next(ctx)
}

// marshal writes an answer. A client that has left is nobody to tell.
func marshal(w io.Writer, v any) error {
	var b bytes.Buffer
	if err := json.MarshalWrite(&b, v, json.Deterministic(true)); err != nil {
		return fmt.Errorf("api: an answer of type %T: %w", v, err)
	}
	b.WriteByte('\n')
	_, _ = w.Write(b.Bytes())
	return nil
}

// writeProblem answers with a problem outside the router.
func writeProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = marshal(w, p) // strings and numbers: it can't fail
}
