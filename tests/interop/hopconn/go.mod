module hopdriver

go 1.19
