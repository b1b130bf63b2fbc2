module dropin

go 1.19

require (
	github.com/go-logr/stdr v1.2.2
	holepunch.example/holepunch v0.0.0
)

require github.com/go-logr/logr v1.2.2 // indirect

replace holepunch.example/holepunch => ../../../bindings/go
