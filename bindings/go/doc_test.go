package holepunch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// Whatever go doc shows has a comment: packages, names, methods and fields.
func TestEveryExportedNameIsDocumented(t *testing.T) {
	for _, dir := range []string{".", "compat/client", "compat/server"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		documented, names := false, 0
		for _, entry := range entries {
			if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
				continue
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, dir+"/"+entry.Name(), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			documented = documented || file.Doc != nil
			check := func(name *ast.Ident, comments ...*ast.CommentGroup) {
				if !name.IsExported() {
					return
				}
				names++
				for _, comment := range comments {
					if comment != nil {
						return
					}
				}
				t.Errorf("%v: %s has no comment", files.Position(name.Pos()), name.Name)
			}
			for _, declaration := range file.Decls {
				checkDeclaration(declaration, check)
			}
		}
		if !documented {
			t.Errorf("the package in %s has no comment", dir)
		}
		if names < 5 {
			t.Errorf("only %d names were found in %s", names, dir)
		}
	}
}

func checkDeclaration(declaration ast.Decl, check func(*ast.Ident, ...*ast.CommentGroup)) {
	switch d := declaration.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil || receiver(d).IsExported() {
			check(d.Name, d.Doc)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.ValueSpec:
				for _, name := range s.Names {
					comments := []*ast.CommentGroup{s.Doc, s.Comment}
					if !d.Lparen.IsValid() {
						comments = append(comments, d.Doc)
					}
					check(name, comments...)
				}
			case *ast.TypeSpec:
				check(s.Name, d.Doc, s.Doc)
				if fields := members(s.Type); s.Name.IsExported() && fields != nil {
					for _, field := range fields.List {
						for _, name := range field.Names {
							check(name, field.Doc, field.Comment)
						}
					}
				}
			}
		}
	}
}

func receiver(method *ast.FuncDecl) *ast.Ident {
	kind := method.Recv.List[0].Type
	if pointer, ok := kind.(*ast.StarExpr); ok {
		kind = pointer.X
	}
	return kind.(*ast.Ident)
}

func members(kind ast.Expr) *ast.FieldList {
	switch k := kind.(type) {
	case *ast.StructType:
		return k.Fields
	case *ast.InterfaceType:
		return k.Methods
	}
	return nil
}
