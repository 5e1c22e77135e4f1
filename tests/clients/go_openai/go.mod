module kinglet/tests/clients/go_openai

go 1.19

require github.com/sashabaranov/go-openai v1.41.2
