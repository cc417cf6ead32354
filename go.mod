module poller

go 1.26

toolchain go1.26.10

require (
	github.com/danielgtaylor/huma/v2 v2.39.0 // indirect
	github.com/go-json-experiment/json v1.27.2 // indirect
	go.uber.org/multierr v1.10.0 // indirect
	go.uber.org/zap v1.28.0 // indirect
)
