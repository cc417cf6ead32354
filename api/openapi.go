package api

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"poller/order"
)

// documentPath is the one route that needs no token.
const documentPath = "/openapi.json"

func (a *API) routeDocument() {
	handleRaw(a, operation{
		method: http.MethodGet, path: documentPath, id: "openapi", tag: "operations",
		summary: "This document",
	}, func(w http.ResponseWriter, _ *http.Request, _ *none) {
		w.Header().Set("Content-Type", typeJSON)
		_, _ = w.Write(a.document)
	})
	o := a.documented(http.MethodGet, documentPath)
	o.Security = []map[string][]string{{}}
	delete(o.Responses, "401")
	a.answers(http.MethodGet, documentPath, typeJSON, &huma.Schema{Type: "object"})
}

// answers documents what a raw route answers with 200.
func (a *API) answers(method, path, mediaType string, schema *huma.Schema) {
	o := a.documented(method, path)
	o.Responses["200"] = &huma.Response{
		Description: http.StatusText(http.StatusOK),
		Content:     map[string]*huma.MediaType{mediaType: {Schema: schema}},
	}
	delete(o.Responses, "204")
}

// refine says in the document what Go's types leave open: objects that may be
// null, lists that never are, and what the data of an event is.
func (a *API) refine() {
	schemas := a.doc.Components.Schemas
	data := []*huma.Schema{
		a.schema(order.ProgressData{}), a.schema(order.TroubleData{}), a.schema(order.View{}), a.schema(order.ErasedData{}), {Type: "null"},
	}
	const prefix = "#/components/schemas/"
	for name, schema := range schemas.Map() {
		t := schemas.TypeFromRef(prefix + name)
		if t == nil || t.Kind() != reflect.Struct {
			continue
		}
		refineStruct(schema, t)
	}
	if e := schemas.Map()["EventView"]; e != nil {
		e.Properties["data"] = &huma.Schema{
			OneOf:       data,
			Description: "By type: null, progress, trouble, the order, or erased",
		}
	}
}

// refineStruct refines the properties of one type.
func refineStruct(schema *huma.Schema, t reflect.Type) {
	for _, f := range reflect.VisibleFields(t) {
		name, omitted := jsonName(f)
		p := schema.Properties[name]
		if p == nil {
			continue
		}
		switch {
		case p.Type == "array":
			p.Nullable = false
		case f.Type.Kind() == reflect.Pointer && p.Ref != "" && !omitted:
			schema.Properties[name] = &huma.Schema{OneOf: []*huma.Schema{{Ref: p.Ref}, {Type: "null"}}, Description: p.Description}
		}
	}
}

// jsonName is a field's name in JSON, and whether it is left out when empty.
func jsonName(f reflect.StructField) (name string, omitted bool) {
	name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name, strings.Contains(options, "omit")
}
