#include "cli/serving.h"

#include "grammar/rule_cache.h"
#include "server/server.h"

size_t kl_serving_connections(const struct kl_serving *s)
{
    return s->max_connections != 0 ? s->max_connections : kl_server_connections_for(s->budget);
}

void kl_serving_plan(const struct kl_serving *s, struct kl_plan *plan)
{
    kl_plan_add(plan, "connections", kl_server_connection_bytes(kl_serving_connections(s)),
                "--max-connections");
    kl_plan_add(plan, "requests and answers on their way", kl_server_held_bytes_for(s->budget),
                NULL);
    kl_plan_add(plan, "requests that are being read", KL_SERVICE_READING_BYTES, NULL);
    if (s->late_lines)
        kl_plan_add(plan, "the automaton of --late-lines", KL_SERVICE_LATE_BYTES, NULL);
    if (s->history)
        kl_plan_add(plan, "chats that are read or written", KL_SERVICE_CHAT_BYTES, NULL);
    kl_plan_add(plan, "kept answers", kl_server_answer_bytes_for(s->budget), NULL);
}

void kl_serving_plan_rules(const struct kl_serving *s, const struct kl_tokenizer *tokenizer,
                           struct kl_plan *plan)
{
    const struct kl_server_rule_bytes rules = kl_server_rule_bytes_for(s->budget);
    kl_plan_add(plan, "rules of answers, and the trie of tokens",
                kl_rule_cache_most_bytes(tokenizer, rules.compiled), NULL);
}

struct kl_engine_choice kl_serving_engine(const struct kl_serving *s)
{
    struct kl_engine_choice choice = s->engine;
    choice.rule_bytes = kl_server_rule_bytes_for(s->budget).followed;
    return choice;
}
