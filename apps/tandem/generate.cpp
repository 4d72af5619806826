// generate: text from a model, as it is being written.
#include <CLI/CLI.hpp>
#include <iterator>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "infer/grammar_reader.h"
#include "infer/json_schema.h"
#include "infer/text_generation.h"
#include "input.h"
#include "interrupt.h"
#include "model_options.h"
#include "output.h"
#include "text/unicode.h"
#include "verbs.h"

namespace tandem::app {
namespace {

struct Options {
  ModelOptions model;
  std::optional<std::string> prompt;
  GenerationOptions generation;
  std::vector<std::string> stops;
  std::vector<std::string> logit_bias;           // ID:VALUE
  std::optional<int64_t> top_log_probabilities;  // given: log-probabilities are printed
  std::string json_schema;                       // files; empty: none
  std::string grammar;
  bool chat = false;
  bool echo = false;
  bool json = false;
};

std::string prompt_from_standard_input() {
  std::string text = read_standard_input();
  // A line break ends the last line of a file or of what was typed; it is not the beginning of what is to be written.
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

int32_t role_token(const Tokenizer& tokenizer, const char* name) {
  if (auto id = tokenizer.token_to_id(name)) return *id;
  throw InputError({.what = "the model has no chat roles",
                    .where = "--chat",
                    .got = fmt::format("a tokenizer without '{}'", name),
                    .expected = "the tokens '<user>' and '<assistant>'"});
}

// BOS <user> text, answered by <assistant>; or BOS text, continued.
Prompt make_prompt(const LoadedModel& loaded, const std::string& text, bool chat) {
  if (!chat) return Prompt::continue_text(encode_prompt(loaded.tokenizer, text, loaded.document_tokens.bos));
  int32_t user = role_token(loaded.tokenizer, "<user>"), assistant = role_token(loaded.tokenizer, "<assistant>");
  std::vector<int32_t> ids = encode_prompt(loaded.tokenizer, text, -1);
  ids.insert(ids.begin(), {loaded.document_tokens.bos, user});
  return Prompt::answer(ids, assistant);
}

TokenBias parse_bias(const std::string& text) {
  size_t id_end = 0, end = 0;
  TokenBias bias;
  try {
    bias.id = std::stoi(text, &id_end);
    if (id_end < text.size() && text[id_end] == ':') bias.value = std::stod(text.substr(id_end + 1), &end);
  } catch (const std::logic_error&) {  // no number, or one out of range
    end = 0;
  }
  if (end > 0 && id_end + 1 + end == text.size()) return bias;
  throw InputError({.what = "bad token bias",
                    .where = "--logit-bias",
                    .got = "'" + text + "'",
                    .expected = "ID:VALUE, for example 42:-2.5"});
}

OrderedJson to_json(const Tokenizer& tokenizer, const TokenLogProbability& token) {
  OrderedJson text;  // null: a model may have more ids than its tokenizer
  if (token.id < tokenizer.vocab_size()) text = tokenizer.id_to_token(token.id);
  return {{"id", token.id}, {"token", text}, {"log_probability", token.log_probability}};
}

OrderedJson log_probabilities_json(const Tokenizer& tokenizer, const Generation& generation) {
  OrderedJson list = OrderedJson::array();
  for (size_t i = 0; i < generation.log_probabilities.size(); ++i) {
    OrderedJson one = to_json(tokenizer, {generation.ids[i], generation.log_probabilities[i]});
    one["top"] = OrderedJson::array();
    if (i < generation.top_log_probabilities.size()) {
      for (const TokenLogProbability& top : generation.top_log_probabilities[i]) {
        one["top"].push_back(to_json(tokenizer, top));
      }
    }
    list.push_back(std::move(one));
  }
  return list;
}

OrderedJson to_json(const TextGeneration& result, const std::string& prompt) {
  return {{"prompt", prompt},
          {"text", result.text},
          {"ids", result.tokens.ids},
          {"finish_reason", finish_reason_name(result.tokens.finish_reason)},
          {"prompt_tokens", result.tokens.prompt_tokens},
          {"generated_tokens", result.tokens.ids.size()},
          {"prefill_seconds", result.tokens.prefill_seconds},
          {"decode_seconds", result.tokens.decode_seconds},
          {"tokens_per_second", result.tokens.tokens_per_second()}};
}

// The grammar that --json-schema or --grammar gives, read before the model is.
std::optional<Grammar> read_constraint(const Options& options) {
  if (!options.json_schema.empty() && !options.grammar.empty()) {
    throw InputError({.what = "--json-schema and --grammar exclude each other"});
  }
  if (!options.json_schema.empty()) return read_json_schema(read_file(options.json_schema), options.json_schema);
  if (!options.grammar.empty()) return read_grammar(read_file(options.grammar), options.grammar);
  return {};
}

// What the command line says about sampling beyond plain numbers.
SamplingOptions sampling_options(const Options& options) {
  SamplingOptions sampling = options.generation.sampling;
  for (const std::string& text : options.logit_bias) sampling.logit_bias.push_back(parse_bias(text));
  if (options.top_log_probabilities) {
    if (!options.json) throw InputError({.what = "--log-probabilities needs --json"});
    sampling.log_probabilities = true;
    sampling.top_log_probabilities = *options.top_log_probabilities;
  }
  sampling.check("generate");
  return sampling;
}

int run(const Options& options) {
  SamplingOptions sampling = sampling_options(options);
  std::optional<Grammar> grammar = read_constraint(options);
  InterruptScope interrupts;
  std::string text = options.prompt ? *options.prompt : prompt_from_standard_input();
  if (interrupted()) return kInterruptedExit;
  require_utf8(text, options.prompt ? "--prompt" : "standard input");
  Context ctx(options.model.threads);
  LoadedModel loaded = load(options.model, ctx);
  Prompt prompt = make_prompt(loaded, text, options.chat);
  GenerationOptions generation = options.generation;
  if (grammar) {
    auto vocabulary = std::make_shared<ConstraintVocabulary>(loaded.tokenizer, std::vector{loaded.document_tokens.eos});
    sampling.constraint = std::make_shared<Constraint>(*grammar, std::move(vocabulary));
  }
  generation.sampling = std::move(sampling);
  generation.eos = {loaded.document_tokens.eos};
  Generator generator(ctx, *loaded.model);
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
    if (options.top_log_probabilities) {
      json["log_probabilities"] = log_probabilities_json(loaded.tokenizer, result.tokens);
    }
    write_json(json);
  }
  if (result.tokens.finish_reason == FinishReason::cancelled) return kInterruptedExit;
  if (result.tokens.finish_reason == FinishReason::context) {
    log::info("the text ends here because it is as long as the model's rows: {} tokens",
              loaded.model->config().max_seq_len);
  }
  return 0;
}

// Beyond temperature and --top-k.
void add_sampling_options(CLI::App& verb, Options& options) {
  SamplingOptions& sampling = options.generation.sampling;
  verb.add_option("--top-p", sampling.top_p, "Draw among the most probable tokens that make up this probability")
      ->capture_default_str();
  verb.add_option("--min-p", sampling.min_p, "Draw among tokens with this share of the best one's probability")
      ->capture_default_str();
  verb.add_option("--typical", sampling.typical, "Draw among the tokens of most typical surprise that make up this")
      ->capture_default_str();
  verb.add_option("--repetition-penalty", sampling.repetition_penalty, "Above 1: tokens that occurred get rarer")
      ->capture_default_str();
  verb.add_option("--presence-penalty", sampling.presence_penalty, "Taken off the logits of tokens written before")
      ->capture_default_str();
  verb.add_option("--frequency-penalty", sampling.frequency_penalty, "The same, once per time that they were written")
      ->capture_default_str();
  verb.add_option("--logit-bias", options.logit_bias, "ID:VALUE is added to a token's logit; may be repeated")
      ->allow_extra_args(false);
  verb.add_option("--ban", sampling.banned, "Never write the token with this id; may be repeated")
      ->allow_extra_args(false);
  verb.add_option("--allow", sampling.allowed, "Write only tokens with these ids; may be repeated")
      ->allow_extra_args(false);
  verb.add_option("--json-schema", options.json_schema, "Write only JSON that satisfies the schema in this file");
  verb.add_option("--grammar", options.grammar, "Write only texts of the grammar (GBNF) in this file");
  verb.add_option("--log-probabilities", options.top_log_probabilities,
                  "With --json: of every token written, and of the N most probable ones")
      ->type_name("N");
}

}  // namespace

void add_generate_verb(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  SamplingOptions& sampling = options->generation.sampling;
  CLI::App* verb = app.add_subcommand("generate", "Continue a text, or answer a chat prompt");
  add_model_options(*verb, options->model);
  options->model.generates = true;
  verb->add_option("--prompt", options->prompt, "Text to continue; left out: standard input");
  verb->add_option("--max-tokens", options->generation.max_tokens, "Write at most so many tokens")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->capture_default_str();
  verb->add_option("--temperature", sampling.temperature, "0: always the most probable token")->capture_default_str();
  verb->add_option("--top-k", sampling.top_k, "Draw among the k most probable tokens; 0: all")->capture_default_str();
  add_sampling_options(*verb, *options);
  verb->add_option("--seed", sampling.seed, "Of the draws; the same seed gives the same text")->capture_default_str();
  verb->add_option("--stop", options->stops, "End before this text; may be given several times")
      ->allow_extra_args(false);
  verb->add_flag("--chat", options->chat, "The prompt is a user's turn; write the assistant's");
  verb->add_flag("--echo", options->echo, "Print the prompt in front of the text");
  verb->add_flag("--json", options->json, "Print one JSON object at the end");
  verb->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace tandem::app
