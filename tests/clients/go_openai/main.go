// go-openai: chat, streams, tools, objects, completions, embeddings, errors.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	openai "github.com/sashabaranov/go-openai"
	"github.com/sashabaranov/go-openai/jsonschema"
)

var (
	url    = "http://127.0.0.1:7860"
	model  string
	client *openai.Client
	ctx    = context.Background()
	fact   = message("What is the capital of France? Answer briefly.")
	rain   = message("What is the weather in Paris?")
	ann    = message("Ann is 41 years old. Write her name and age as JSON.")
)

type person struct {
	Name string `json:"name"`
	Age  int    `json:"age"`
}

func message(text string) []openai.ChatCompletionMessage {
	return []openai.ChatCompletionMessage{{Role: openai.ChatMessageRoleUser, Content: text}}
}

func request(messages []openai.ChatCompletionMessage) openai.ChatCompletionRequest {
	return openai.ChatCompletionRequest{Model: model, Messages: messages, MaxTokens: 48}
}

func weatherTool() openai.Tool {
	return openai.Tool{Type: openai.ToolTypeFunction, Function: &openai.FunctionDefinition{
		Name:        "get_weather",
		Description: "Tells the weather in a city now.",
		Parameters: jsonschema.Definition{
			Type:       jsonschema.Object,
			Properties: map[string]jsonschema.Definition{"city": {Type: jsonschema.String}},
			Required:   []string{"city"},
		},
	}}
}

func expect(holds bool, format string, values ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf("unexpected: "+format, values...)
}

func models() error {
	list, err := client.ListModels(ctx)
	if err != nil {
		return err
	}
	return expect(len(list.Models) > 0 && list.Models[0].ID == model, "%v", list)
}

func answer() error {
	got, err := client.CreateChatCompletion(ctx, request(fact))
	if err != nil {
		return err
	}
	usage := got.Usage
	ok := strings.Contains(got.Choices[0].Message.Content, "Paris") &&
		usage.TotalTokens == usage.PromptTokens+usage.CompletionTokens
	return expect(ok, "%+v", got)
}

func stream() error {
	whole, err := client.CreateChatCompletion(ctx, request(fact))
	if err != nil {
		return err
	}
	asked := request(fact)
	asked.StreamOptions = &openai.StreamOptions{IncludeUsage: true}
	pieces, err := client.CreateChatCompletionStream(ctx, asked)
	if err != nil {
		return err
	}
	defer pieces.Close()
	var text string
	var usage *openai.Usage
	for {
		piece, err := pieces.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if len(piece.Choices) > 0 {
			text += piece.Choices[0].Delta.Content
		}
		usage = piece.Usage
	}
	ok := text == whole.Choices[0].Message.Content && usage != nil && usage.TotalTokens == whole.Usage.TotalTokens
	return expect(ok, "%q, %+v", text, usage)
}

func tools() error {
	asked := request(rain)
	asked.Tools = []openai.Tool{weatherTool()}
	asked.ToolChoice = "required"
	got, err := client.CreateChatCompletion(ctx, asked)
	if err != nil {
		return err
	}
	choice := got.Choices[0]
	if choice.FinishReason != openai.FinishReasonToolCalls || len(choice.Message.ToolCalls) == 0 {
		return expect(false, "%+v", choice)
	}
	call := choice.Message.ToolCalls[0]
	var arguments struct{ City string }
	if err := json.Unmarshal([]byte(call.Function.Arguments), &arguments); err != nil {
		return err
	}
	result := openai.ChatCompletionMessage{
		Role: openai.ChatMessageRoleTool, ToolCallID: call.ID, Content: "sunny, 21 degrees",
	}
	asked.Messages = append(append(rain[:1:1], choice.Message), result)
	asked.ToolChoice = "none"
	got, err = client.CreateChatCompletion(ctx, asked)
	if err != nil {
		return err
	}
	return expect(arguments.City != "" && got.Choices[0].Message.Content != "", "%+v", got)
}

func object() error {
	schema, err := jsonschema.GenerateSchemaForType(person{})
	if err != nil {
		return err
	}
	asked := request(ann)
	asked.ResponseFormat = &openai.ChatCompletionResponseFormat{
		Type:       openai.ChatCompletionResponseFormatTypeJSONSchema,
		JSONSchema: &openai.ChatCompletionResponseFormatJSONSchema{Name: "person", Schema: schema, Strict: true},
	}
	got, err := client.CreateChatCompletion(ctx, asked)
	if err != nil {
		return err
	}
	var found person
	if err := schema.Unmarshal(got.Choices[0].Message.Content, &found); err != nil {
		return err
	}
	return expect(found == person{"Ann", 41}, "%+v", found)
}

func completion() error {
	got, err := client.CreateCompletion(ctx, openai.CompletionRequest{
		Model: model, Prompt: "The capital of France is", MaxTokens: 8,
	})
	if err != nil {
		return err
	}
	return expect(strings.Contains(got.Choices[0].Text, "Paris"), "%+v", got)
}

func embeddings() error {
	asked := openai.EmbeddingRequestStrings{
		Model: openai.EmbeddingModel(model), Input: []string{"a cat", "a small cat", "the stock market"},
	}
	got, err := client.CreateEmbeddings(ctx, asked)
	if err != nil {
		return err
	}
	near, _ := got.Data[0].DotProduct(&got.Data[1])
	far, _ := got.Data[0].DotProduct(&got.Data[2])
	return expect(near > far && near < 1.001, "%v, %v", near, far)
}

func failure() error {
	asked := request(fact)
	asked.TopP = 7
	_, err := client.CreateChatCompletion(ctx, asked)
	var found *openai.APIError
	ok := errors.As(err, &found) && found.HTTPStatusCode == http.StatusBadRequest &&
		found.Param != nil && *found.Param == "top_p"
	return expect(ok, "%v", err)
}

// cancel ends a stream by its context, and waits until the server computes nothing any more.
func cancel() error {
	limited, stop := context.WithCancel(ctx)
	asked := request(fact)
	asked.MaxTokens, asked.Temperature = 4000, 1.5
	pieces, err := client.CreateChatCompletionStream(limited, asked)
	if err != nil {
		stop()
		return err
	}
	_, err = pieces.Recv()
	stop()
	pieces.Close()
	if err != nil {
		return err
	}
	var health struct{ Running int }
	for i := 0; i < 500; i++ {
		reply, err := http.Get(url + "/health")
		if err != nil {
			return err
		}
		err = json.NewDecoder(reply.Body).Decode(&health)
		reply.Body.Close()
		if err != nil || health.Running == 0 {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return expect(false, "%d requests still run", health.Running)
}

func main() {
	key := os.Getenv("KINGLET_KEY")
	if len(os.Args) > 1 {
		url = strings.TrimSuffix(os.Args[1], "/")
	}
	config := openai.DefaultConfig(key)
	config.BaseURL = url + "/v1"
	client = openai.NewClientWithConfig(config)
	list, err := client.ListModels(ctx)
	if err != nil || len(list.Models) == 0 {
		fmt.Println("no models:", err)
		os.Exit(1)
	}
	model = list.Models[0].ID
	failed := 0
	for _, feature := range []struct {
		text string
		try  func() error
	}{
		{"models: list", models},
		{"chat: an answer with usage", answer},
		{"stream: joins to the text, usage at the end", stream},
		{"tools: required, a valid call, then an answer with its result", tools},
		{"response_format: an object of a type", object},
		{"completions", completion},
		{"embeddings: near texts are near", embeddings},
		{"errors: APIError with the status and the name of the field", failure},
		{"cancel: a stream whose context ends", cancel},
	} {
		if err := feature.try(); err != nil {
			failed++
			fmt.Printf("FAILED  %s\n%v\n", feature.text, err)
		} else {
			fmt.Printf("ok      %s\n", feature.text)
		}
	}
	if failed > 0 {
		os.Exit(1)
	}
}
