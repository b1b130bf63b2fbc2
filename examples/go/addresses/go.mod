module holepunch.example/examples/addresses

go 1.19

require holepunch.example/holepunch v0.0.0

replace holepunch.example/holepunch => ../../../bindings/go
