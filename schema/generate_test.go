package schema

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leakscope/leakscope/analyze"
	"github.com/leakscope/leakscope/policy"
	"github.com/leakscope/leakscope/report"
	"github.com/leakscope/leakscope/snapshot"
)

// reportDocument is the root of the JSON report.
type reportDocument struct {
	analyze.Result
	Gate *policy.Outcome `json:"gate,omitempty"`
}

// written is a schema that describes Go types.
type written struct {
	name, id, title, version string
	root                     reflect.Type
}

var fromTypes = []written{
	{"report", analyze.Schema, "leakscope report", analyze.FormatVersion, reflect.TypeFor[reportDocument]()},
	{"proof", analyze.ProofSchema, "leakscope diff --before --after", analyze.FormatVersion, reflect.TypeFor[analyze.Proof]()},
	{"snapshot", snapshot.Schema, "manifest.json of a leakscope snapshot", snapshot.FormatVersion, reflect.TypeFor[snapshot.Manifest]()},
	{"inspection", report.InspectionSchema, "leakscope inspect", report.InspectionVersion, reflect.TypeFor[report.Inspection]()},
	{"examination", snapshot.ExaminationSchema, "leakscope doctor", snapshot.ExaminationVersion, reflect.TypeFor[snapshot.Examination]()},
}

// generator describes Go types as JSON Schema does. Descriptions and the values
// of named strings come from the source of the types.
type generator struct {
	source source
	defs   map[string]any
	named  map[string]reflect.Type
}

func generate(t testing.TB, w written) map[string]any {
	t.Helper()
	g := &generator{source: parse(t), defs: map[string]any{}, named: map[string]reflect.Type{}}
	root := g.object(t, w.root)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = w.id
	root["$comment"] = "format version " + w.version
	root["title"] = w.title
	root["$defs"] = g.defs
	// Through JSON, so that it compares with what is read.
	text, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	var plain map[string]any
	if err := json.Unmarshal(text, &plain); err != nil {
		t.Fatal(err)
	}
	properties := plain["properties"].(map[string]any)
	if p, ok := properties["schema"].(map[string]any); ok {
		p["const"] = w.id
	}
	return plain
}

// object describes a struct's fields as encoding/json writes them.
func (g *generator) object(t testing.TB, typ reflect.Type) map[string]any {
	t.Helper()
	properties, required := map[string]any{}, []string{}
	var fields func(reflect.Type)
	fields = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous && tag == "" {
				fields(f.Type)
				continue
			}
			if tag == "-" {
				continue
			}
			if tag == "" {
				t.Fatalf("%v.%s has no JSON name", typ, f.Name)
			}
			optional := strings.Contains(options, "omit")
			schema := g.value(t, f.Type, optional)
			if text := g.source.comments[key(typ, f.Name)]; text != "" {
				schema["description"] = text
			}
			properties[tag] = schema
			if !optional {
				required = append(required, tag)
			}
		}
	}
	fields(typ)
	return map[string]any{"type": "object", "properties": properties, "required": required}
}

func key(typ reflect.Type, field string) string {
	return filepath.Base(typ.PkgPath()) + "." + typ.Name() + "." + field
}

func (g *generator) value(t testing.TB, typ reflect.Type, optional bool) map[string]any {
	t.Helper()
	switch {
	case typ == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case typ == reflect.TypeFor[netip.AddrPort]():
		return map[string]any{"type": "string", "pattern": `^(\[.+\]|[0-9.]+):[0-9]+$`}
	case typ == reflect.TypeFor[snapshot.Address]():
		return map[string]any{"type": "string", "pattern": "^0x[0-9a-f]+$"}
	case strings.HasPrefix(typ.Name(), "Optional["):
		known, _ := typ.FieldByName("value")
		return nullable(g.value(t, known.Type, false))
	}
	switch typ.Kind() {
	case reflect.Pointer:
		v := g.value(t, typ.Elem(), false)
		if optional {
			return v
		}
		return nullable(v)
	case reflect.Struct:
		if other, ok := g.named[typ.Name()]; ok && other != typ {
			t.Fatalf("%v and %v have one name", typ, other)
		}
		if g.named[typ.Name()] == nil {
			g.named[typ.Name()] = typ
			g.defs[typ.Name()] = g.object(t, typ)
		}
		return map[string]any{"$ref": "#/$defs/" + typ.Name()}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": g.value(t, typ.Elem(), false)}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": g.value(t, typ.Elem(), false)}
	case reflect.String:
		if values := g.source.values[filepath.Base(typ.PkgPath())+"."+typ.Name()]; len(values) > 0 {
			return map[string]any{"enum": values}
		}
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	}
	t.Fatalf("no schema for %v", typ)
	return nil
}

func nullable(v map[string]any) map[string]any {
	if typ, ok := v["type"].(string); ok {
		v["type"] = []string{typ, "null"}
		return v
	}
	return map[string]any{"anyOf": []any{v, map[string]any{"type": "null"}}}
}

// source is what the packages' source tells beyond their types.
type source struct {
	comments map[string]string   // package.Type.Field → its comment
	values   map[string][]string // package.Type → its constants, in order
}

func parse(t testing.TB) source {
	t.Helper()
	s := source{map[string]string{}, map[string][]string{}}
	for _, pkg := range []string{"analyze", "snapshot", "policy", "report"} {
		paths, err := filepath.Glob(filepath.Join("..", pkg, "*.go"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no source of %s: %v", pkg, err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.TypeSpec:
					s.noteFields(pkg, n)
				case *ast.GenDecl:
					if n.Tok == token.CONST {
						s.noteConstants(pkg, n)
					}
				}
				return true
			})
		}
	}
	return s
}

func (s source) noteFields(pkg string, spec *ast.TypeSpec) {
	st, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range st.Fields.List {
		text := strings.TrimSpace(f.Doc.Text() + " " + f.Comment.Text())
		for _, name := range f.Names {
			s.comments[pkg+"."+spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(text), " ")
		}
	}
}

func (s source) noteConstants(pkg string, decl *ast.GenDecl) {
	for _, spec := range decl.Specs {
		v := spec.(*ast.ValueSpec)
		typ, ok := v.Type.(*ast.Ident)
		if !ok {
			continue
		}
		for _, value := range v.Values {
			if lit, ok := value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil {
					s.values[pkg+"."+typ.Name] = append(s.values[pkg+"."+typ.Name], text)
				}
			}
		}
	}
}

// write puts a schema into its file.
func write(t testing.TB, path string, schema map[string]any) {
	t.Helper()
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
