package fetcher

import (
	"context"
	"io"
	"log"
)

// quiet is a server's error log in tests that provoke errors.
var quiet = log.New(io.Discard, "", 0)

// ctxBackground is for what is no poll.
var ctxBackground = context.Background()
