#include "generate_options.h"

#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "infer/constraint.h"
#include "infer/grammar_reader.h"
#include "infer/json_schema.h"

namespace tandem::app {
namespace {

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

std::optional<Grammar> read_constraint(const GenerateOptions& options) {
  if (!options.json_schema.empty() && !options.grammar.empty()) {
    throw InputError({.what = "--json-schema and --grammar exclude each other"});
  }
  if (!options.json_schema.empty()) return read_json_schema(read_file(options.json_schema), options.json_schema);
  if (!options.grammar.empty()) return read_grammar(read_file(options.grammar), options.grammar);
  return {};
}

SamplingOptions sampling_options(const GenerateOptions& options) {
  SamplingOptions sampling = options.generation.sampling;
  for (const std::string& text : options.logit_bias) sampling.logit_bias.push_back(parse_bias(text));
  if (options.top_log_probabilities) {
    if (!options.json) throw InputError({.what = "--log-probabilities needs --json"});
    sampling.log_probabilities = true;
    sampling.top_log_probabilities = *options.top_log_probabilities;
  }
  if (options.generation.prompt_log_probabilities && !options.json) {
    throw InputError({.what = "--prompt-log-probabilities needs --json"});
  }
  sampling.check("generate");
  return sampling;
}

// Beyond temperature and --top-k.
void add_sampling_options(CLI::App& verb, GenerateOptions& options) {
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
  verb.add_option("--force", sampling.forced,
                  "The first token written has this id; may be repeated for those behind it")
      ->allow_extra_args(false);
  verb.add_option("--json-schema", options.json_schema, "Write only JSON that satisfies the schema in this file");
  verb.add_option("--grammar", options.grammar, "Write only texts of the grammar (GBNF) in this file");
  verb.add_option("--log-probabilities", options.top_log_probabilities,
                  "With --json: of every token written, and of the N most probable ones")
      ->type_name("N");
}

// How tokens are looked for, written and measured.
void add_writing_options(CLI::App& verb, GenerateOptions& options) {
  SpeculationOptions& speculation = options.generation.speculation;
  verb.add_option("--speculative", speculation.draft, "Propose up to N tokens by looking up the last ones; 0: off")
      ->check(CLI::Range(int64_t{0}, int64_t{256}))
      ->type_name("N")
      ->capture_default_str();
  verb.add_option("--fold", options.fold, "Read what was written every R tokens: never, R or auto")
      ->type_name("R")
      ->capture_default_str();
  BeamOptions& beams = options.generation.beams;
  verb.add_option("--beams", beams.width, "Beam search: follow N texts and print the most probable; 0: off")
      ->check(CLI::Range(int64_t{0}, int64_t{256}))
      ->type_name("N")
      ->capture_default_str();
  verb.add_option("--length-penalty", beams.length_penalty, "Of a beam search: above 0 longer texts score higher")
      ->capture_default_str();
  verb.add_option("--best", beams.best, "With --json: the best N texts of a beam search")
      ->type_name("N")
      ->capture_default_str();
  verb.add_flag("--early-stopping", beams.early_stopping, "End a beam search when as many texts as beams are finished");
  verb.add_option("--prompt-log-probabilities", options.generation.prompt_log_probabilities,
                  "With --json: of the prompt's tokens, and of the N most probable ones in their places")
      ->type_name("N");
}

}  // namespace

void add_generate_options(CLI::App& verb, GenerateOptions& options) {
  SamplingOptions& sampling = options.generation.sampling;
  add_model_options(verb, options.model);
  options.model.generates = true;
  verb.add_option("--prompt", options.prompt, "Text to continue; left out: standard input");
  verb.add_option("--max-tokens", options.generation.max_tokens, "Write at most so many tokens")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->capture_default_str();
  verb.add_option("--temperature", sampling.temperature, "0: always the most probable token")->capture_default_str();
  verb.add_option("--top-k", sampling.top_k, "Draw among the k most probable tokens; 0: all")->capture_default_str();
  add_sampling_options(verb, options);
  add_writing_options(verb, options);
  verb.add_option("--seed", sampling.seed, "Of the draws; the same seed gives the same text")->capture_default_str();
  verb.add_option("--stop", options.stops, "End before this text; may be given several times")->allow_extra_args(false);
  verb.add_flag("--chat", options.chat,
                "The prompt is a user's turn; write the assistant's. Without --prompt: a conversation");
  verb.add_flag("--interactive", options.interactive,
                "Go on by turns, and show what each has read, found in the cache and cost");
  verb.add_option("--on-full", options.on_full,
                  "When a conversation has outgrown the model's rows: stop, or drop its oldest turns")
      ->check(CLI::IsMember({"stop", "drop"}))
      ->capture_default_str();
  verb.add_option("--prefix-cache", options.prefix_cache,
                  "Folder in which what was read outlives the program: the same beginning is not read again");
  verb.add_option("--encoder-state", options.encoder_state,
                  "What reading on needs, between turns: keep it, recompute it, or spill it to files")
      ->check(CLI::IsMember({"keep", "recompute", "spill"}))
      ->capture_default_str();
  verb.add_flag("--no-history", options.no_history, "Neither read nor keep what was typed in earlier conversations");
  verb.add_flag("--echo", options.echo, "Print the prompt in front of the text");
  verb.add_flag("--json", options.json, "Print one JSON object at the end");
}

void set_caches(EngineOptions& engine, const GenerateOptions& options) {
  if (options.encoder_state == "recompute") engine.cache.encoder = EncoderState::recompute;
  if (options.encoder_state == "spill") {
    engine.cache.encoder = EncoderState::spill;
    engine.cache.spill_folder = std::filesystem::temp_directory_path();
  }
  if (options.prefix_cache.empty()) return;
  if (std::filesystem::exists(options.prefix_cache) && !std::filesystem::is_directory(options.prefix_cache)) {
    throw InputError({.what = "not a folder",
                      .where = "--prefix-cache",
                      .got = options.prefix_cache,
                      .expected = "a folder, or a name that is not taken"});
  }
  engine.prefix_folder = options.prefix_cache;
  engine.cache.keep_outputs = true;  // prefixes rest in the folder
  engine.reuse_prefixes = true;
  engine.cache.tokens *= 2;
}

ReadOptions read_options(const GenerateOptions& options) {
  ReadOptions read{options.generation, read_constraint(options)};
  read.generation.sampling = sampling_options(options);
  read.generation.fold = parse_fold(options.fold, "--fold");
  return read;
}

GenerationOptions options_for(const LoadedModel& loaded, const ReadOptions& options) {
  GenerationOptions generation = options.generation;
  generation.eos = loaded.ends;
  if (options.grammar) {
    auto vocabulary = std::make_shared<ConstraintVocabulary>(loaded.tokenizer, loaded.ends);
    generation.sampling.constraint = std::make_shared<Constraint>(*options.grammar, std::move(vocabulary));
  }
  return generation;
}

ChatDialogue chat_dialogue(const LoadedModel& loaded) {
  ChatTokenNames names;
  for (const std::string& name : {names.user, names.assistant}) {
    if (loaded.tokenizer.token_to_id(name)) continue;
    throw InputError({.what = "the model has no chat roles",
                      .where = "--chat",
                      .got = fmt::format("a tokenizer without '{}'", name),
                      .expected = fmt::format("the tokens '{}' and '{}'", names.user, names.assistant)});
  }
  return {loaded.tokenizer, names, loaded.document_tokens.bos, loaded.ends};
}

}  // namespace tandem::app
