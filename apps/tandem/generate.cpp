// generate: text from a model, as it is being written.
#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "chat.h"
#include "generate_options.h"
#include "infer/text_generation.h"
#include "input.h"
#include "interrupt.h"
#include "output.h"
#include "text/detokenizer.h"
#include "text/unicode.h"
#include "verbs.h"

namespace tandem::app {
namespace {

std::string prompt_from_standard_input() {
  std::string text = read_standard_input();
  // A line break ends the last line of a file or of what was typed; it is not the beginning of what is to be written.
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

// BOS <user> text, answered by <assistant>; or BOS text, continued.
Prompt make_prompt(const LoadedModel& loaded, const std::string& text, bool chat) {
  if (!chat) return Prompt::continue_text(encode_prompt(loaded.tokenizer, text, loaded.document_tokens.bos));
  ChatDialogue chat_turn = chat_dialogue(loaded);
  chat_turn.say(text);
  return chat_turn.prompt();
}

OrderedJson to_json(const Tokenizer& tokenizer, const TokenLogProbability& token) {
  OrderedJson text;  // null: a model may have more ids than its tokenizer
  if (token.id < tokenizer.vocab_size()) text = tokenizer.id_to_token(token.id);
  return {{"id", token.id}, {"token", text}, {"log_probability", token.log_probability}};
}

OrderedJson log_probabilities_json(const Tokenizer& tokenizer, std::span<const int32_t> ids,
                                   const std::vector<double>& values,
                                   const std::vector<std::vector<TokenLogProbability>>& top) {
  OrderedJson list = OrderedJson::array();
  for (size_t i = 0; i < values.size(); ++i) {
    OrderedJson one = to_json(tokenizer, {ids[i], values[i]});
    one["top"] = OrderedJson::array();
    if (i < top.size()) {
      for (const TokenLogProbability& each : top[i]) one["top"].push_back(to_json(tokenizer, each));
    }
    list.push_back(std::move(one));
  }
  return list;
}

// The texts of a beam search behind the best.
OrderedJson others_json(const Tokenizer& tokenizer, const std::vector<Generation>& others) {
  OrderedJson list = OrderedJson::array();
  for (const Generation& each : others) {
    Detokenizer detokenizer(tokenizer, /*skip_special=*/true);
    std::string text;
    for (int32_t id : each.ids) text += id < tokenizer.vocab_size() ? detokenizer.push(id) : "";
    text += detokenizer.finish();
    list.push_back({{"text", text},
                    {"ids", each.ids},
                    {"score", each.score},
                    {"finish_reason", finish_reason_name(each.finish_reason)}});
  }
  return list;
}

// What is there only when it was asked for.
void add_asked(OrderedJson& json, const Tokenizer& tokenizer, const Prompt& prompt, const GenerationOptions& asked,
               const TextGeneration& result) {
  if (asked.sampling.log_probabilities) {
    json["log_probabilities"] = log_probabilities_json(tokenizer, result.tokens.ids, result.tokens.log_probabilities,
                                                       result.tokens.top_log_probabilities);
  }
  if (asked.prompt_log_probabilities) {
    std::vector<int32_t> ids = prompt.ids();
    json["prompt_log_probabilities"] =
        log_probabilities_json(tokenizer, std::span(ids).subspan(1), result.prompt.values, result.prompt.top);
  }
  if (asked.beams.width > 0) {
    json["score"] = result.tokens.score;
    json["others"] = others_json(tokenizer, result.others);
  }
}

OrderedJson to_json(const TextGeneration& result, const std::string& prompt) {
  return {{"prompt", prompt},
          {"text", result.text},
          {"ids", result.tokens.ids},
          {"finish_reason", finish_reason_name(result.tokens.finish_reason)},
          {"prompt_tokens", result.tokens.prompt_tokens},
          {"reused_tokens", result.reused_tokens},
          {"generated_tokens", result.tokens.ids.size()},
          {"prefill_seconds", result.tokens.prefill_seconds},
          {"decode_seconds", result.tokens.decode_seconds},
          {"tokens_per_second", result.tokens.tokens_per_second()},
          {"passes", result.tokens.passes},
          {"proposed_tokens", result.tokens.proposed_tokens},
          {"accepted_tokens", result.tokens.accepted_tokens}};
}

// The text, streamed or as JSON.
TextGeneration write_text(Context& ctx, const LoadedModel& loaded, const GenerateOptions& options,
                          GenerationOptions generation, const std::string& text) {
  Prompt prompt = make_prompt(loaded, text, options.chat);
  if (options.chat) generation.eos = chat_dialogue(loaded).ends();
  // One sequence more for log-probabilities of the prompt.
  EngineOptions engine = Generator::room_for(loaded.model->config(), std::max<int64_t>(generation.beams.width, 1) + 1);
  set_caches(engine, options);
  Generator generator(ctx, *loaded.model, engine);
  bool stream = !options.json;
  if (stream && options.echo) write_output(text);
  auto on_text = [&](std::string_view piece) {
    if (stream) write_output(piece);
  };
  TextGeneration result =
      generate_text(generator, loaded.tokenizer, prompt, generation, options.stops, on_text, interrupted);
  if (stream) {
    write_output("\n");
  } else {
    OrderedJson json = to_json(result, text);
    add_asked(json, loaded.tokenizer, prompt, generation, result);
    write_json(json);
  }
  return result;
}

int run(const GenerateOptions& options) {
  ReadOptions read = read_options(options);
  if (is_conversation(options)) return run_conversation(options, read);
  InterruptScope interrupts;
  std::string text = options.prompt ? *options.prompt : prompt_from_standard_input();
  if (interrupted()) return kInterruptedExit;
  require_utf8(text, options.prompt ? "--prompt" : "standard input");
  Context ctx(options.model.threads);
  LoadedModel loaded = load(options.model, ctx);
  TextGeneration result = write_text(ctx, loaded, options, options_for(loaded, read), text);
  if (result.tokens.finish_reason == FinishReason::cancelled) return kInterruptedExit;
  if (result.tokens.finish_reason == FinishReason::context) {
    log::info("the text ends here because it is as long as the model's rows: {} tokens",
              loaded.model->config().max_seq_len);
  }
  return 0;
}

}  // namespace

void add_generate_verb(CLI::App& app, Action& action) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* verb = app.add_subcommand("generate", "Continue a text, answer a chat prompt, or converse");
  add_generate_options(*verb, *options);
  verb->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace tandem::app
