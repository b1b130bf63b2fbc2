module holepunch.example/holepunch

go 1.19
