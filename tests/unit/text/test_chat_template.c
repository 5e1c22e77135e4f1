/* src/text/chat_template.c: recognition, refusals, spans and plain ChatML. The templates of models
 * against Jinja2: tests/fidelity/test_chat_template.py */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/chat_template.h"
#include "tiny_vocab.h"

static const struct kl_chat_template *template_of(const char *source, enum kl_chat_by *by)
{
    struct tiny_vocab v;
    tiny_init(&v);
    v.chat_template = source;
    struct kl_gguf *gguf = tiny_gguf(&v);
    const struct kl_chat_template *t = kl_chat_template_for(gguf, by);
    kl_gguf_close(gguf);
    return t;
}

static struct kl_message message(const char *role, const char *content)
{
    return (struct kl_message){
        .role = role, .content = content, .content_len = content == NULL ? 0 : strlen(content)};
}

static void assert_rendered(const struct kl_chat *chat, const char *expected)
{
    struct kl_prompt prompt;
    struct kl_error err = {0};
    if (kl_chat_render(template_of(NULL, NULL), chat, &prompt, &err) != KL_OK)
        fail_msg("%s", err.text);
    assert_string_equal(prompt.text.data, expected);
    kl_prompt_release(&prompt);
}

static void what_is_not_known_is_taken_as_chatml(void **state)
{
    (void)state;
    enum kl_chat_by by = KL_CHAT_BY_TEXT;
    assert_string_equal(kl_chat_template_name(template_of(NULL, &by)), "chatml");
    assert_int_equal(by, KL_CHAT_BY_FALLBACK);
    by = KL_CHAT_BY_TEXT;
    assert_string_equal(kl_chat_template_name(template_of("{{ messages }}", &by)), "chatml");
    assert_int_equal(by, KL_CHAT_BY_FALLBACK);
}

static void renders_turns(void **state)
{
    (void)state;
    const struct kl_message messages[] = {message("user", "hi"), message("assistant", NULL),
                                          message("system", "be brief"), message("user", "")};
    struct kl_chat chat = {.messages = messages, .n_messages = 4};
    assert_rendered(&chat,
                    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n"
                    "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\n<|im_end|>\n");
    chat.n_messages = 1;
    chat.add_generation_prompt = true;
    assert_rendered(&chat, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
    chat.messages = messages + 2;
    chat.add_generation_prompt = false;
    assert_rendered(&chat, "<|im_start|>system\nbe brief<|im_end|>\n");
}

static void renders_tools(void **state)
{
    (void)state;
    const struct kl_tool_call calls[] = {{"f", "{\"x\": 1}"}, {"g", "{}"}};
    struct kl_message messages[] = {message("user", "hi"), message("assistant", "let me see"),
                                    message("tool", "1"), message("tool", "2"),
                                    message("user", "ok")};
    messages[1].tool_calls = calls;
    messages[1].n_tool_calls = 2;
    const char *const tools[] = {"{\"name\": \"f\"}", "{\"name\": \"g\"}"};
    const struct kl_chat chat = {
        .messages = messages, .n_messages = 5, .tools = tools, .n_tools = 2};
    assert_rendered(
        &chat,
        "<|im_start|>system\n# Tools\n\nYou may call one or more functions to assist with the user "
        "query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n"
        "<tools>\n{\"name\": \"f\"}\n{\"name\": \"g\"}\n</tools>\n\nFor each function call, return "
        "a json object with function name and arguments within <tool_call></tool_call> XML tags:\n"
        "<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n"
        "</tool_call><|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\nlet me see\n<tool_call>\n{\"name\": \"f\", \"arguments\": "
        "{\"x\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n"
        "</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\n1\n</tool_response>\n"
        "<tool_response>\n2\n</tool_response><|im_end|>\n<|im_start|>user\nok<|im_end|>\n");
}

static void only_the_scaffold_is_special(void **state)
{
    (void)state;
    const struct kl_tool_call call = {"CONTENT", "CONTENT"};
    struct kl_message messages[] = {message("system", "CONTENT"), message("user", "CONTENT"),
                                    message("assistant", "CONTENT"), message("tool", "CONTENT")};
    messages[2].tool_calls = &call;
    messages[2].n_tool_calls = 1;
    const char *const tool = "CONTENT";
    const struct kl_chat chat = {
        .messages = messages, .n_messages = 4, .tools = &tool, .n_tools = 1};
    struct kl_prompt prompt;
    assert_int_equal(kl_chat_render(template_of(NULL, NULL), &chat, &prompt, NULL), KL_OK);
    const char *at = prompt.text.data;
    size_t contents = 0;
    for (size_t i = 0; i < prompt.n_spans; i++) {
        const struct kl_span *span = &prompt.spans[i];
        assert_ptr_equal(span->text, at); /* no gap, no overlap */
        assert_true(span->len > 0);
        assert_int_equal(span->special, i % 2 == 0);
        if (!span->special) {
            assert_int_equal(span->len, 7);
            assert_memory_equal(span->text, "CONTENT", 7);
            contents++;
        }
        at += span->len;
    }
    assert_int_equal(contents, 7);
    assert_ptr_equal(at, prompt.text.data + prompt.text.len);
    kl_prompt_release(&prompt);
}

static void an_unknown_template_has_tools_and_no_thinking(void **state)
{
    (void)state;
    const struct kl_chat_template *t = template_of(NULL, NULL);
    assert_true(kl_chat_template_has(t, KL_CHAT_TOOLS));
    assert_false(kl_chat_template_has(t, KL_CHAT_THINKING));
}

static void templates_have_names(void **state)
{
    (void)state;
    struct kl_error err = {0};
    const struct kl_chat_template *t = kl_chat_template_named("qwen3-thinking-2507", &err);
    assert_non_null(t);
    assert_string_equal(kl_chat_template_name(t), "qwen3-thinking-2507");
    assert_true(kl_chat_template_has(t, KL_CHAT_ONLY_THINKING));
    assert_false(kl_chat_template_has(t, KL_CHAT_THINKING));
    assert_null(kl_chat_template_named("qwen", &err));
    assert_int_equal(err.status, KL_ERR_INVALID);
    assert_non_null(
        strstr(err.text, "there is no chat template 'qwen'; there are qwen2, qwen2.5, "));
    assert_non_null(strstr(err.text, ", smollm2, llama3.2, deepseek-r1-distill"));
    assert_non_null(strstr(err.text, ", chatml"));
}

static void content_may_have_any_bytes(void **state)
{
    (void)state;
    const struct kl_message m = {.role = "user", .content = "a\0\xFF", .content_len = 3};
    const struct kl_chat chat = {.messages = &m, .n_messages = 1};
    struct kl_prompt prompt;
    assert_int_equal(kl_chat_render(template_of(NULL, NULL), &chat, &prompt, NULL), KL_OK);
    static const char expected[] = "<|im_start|>user\na\0\xFF<|im_end|>\n";
    assert_int_equal(prompt.text.len, sizeof expected - 1);
    assert_memory_equal(prompt.text.data, expected, sizeof expected);
    kl_prompt_release(&prompt);
}

static void assert_refused(const struct kl_chat *chat, enum kl_status status, const char *part)
{
    struct kl_prompt prompt;
    struct kl_error err = {0};
    assert_int_equal(kl_chat_render(template_of(NULL, NULL), chat, &prompt, &err), status);
    assert_non_null(strstr(err.text, part));
    assert_null(prompt.text.data);
    assert_null(prompt.spans);
}

static void refuses_what_is_no_conversation(void **state)
{
    (void)state;
    const struct kl_message messages[] = {message("user", "hi"), message("robot", "hi")};
    struct kl_chat chat = {.messages = messages};
    assert_refused(&chat, KL_ERR_INVALID, "at least one message");
    chat.n_messages = 2;
    assert_refused(&chat, KL_ERR_INVALID, "messages[1] has the role \"robot\"");

    const struct kl_message huge = {.role = "user", .content = "", .content_len = (size_t)1 << 40};
    chat.messages = &huge;
    chat.n_messages = 1;
    assert_refused(&chat, KL_ERR_LIMIT, "longer than 67108864 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_known_is_taken_as_chatml),
        cmocka_unit_test(renders_turns),
        cmocka_unit_test(renders_tools),
        cmocka_unit_test(only_the_scaffold_is_special),
        cmocka_unit_test(an_unknown_template_has_tools_and_no_thinking),
        cmocka_unit_test(templates_have_names),
        cmocka_unit_test(content_may_have_any_bytes),
        cmocka_unit_test(refuses_what_is_no_conversation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
