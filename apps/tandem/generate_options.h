// What the command line of generate says, for single texts and for conversations.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "infer/chat_dialogue.h"
#include "infer/engine.h"
#include "infer/generation.h"
#include "infer/grammar.h"
#include "model_options.h"

namespace tandem::app {

struct GenerateOptions {
  ModelOptions model;
  std::optional<std::string> prompt;
  GenerationOptions generation;
  std::vector<std::string> stops;
  std::vector<std::string> logit_bias;           // ID:VALUE
  std::optional<int64_t> top_log_probabilities;  // given: log-probabilities are printed
  std::string json_schema;                       // files; empty: none
  std::string grammar;
  std::string fold = "never";
  std::string prefix_cache;            // folder; empty: none
  std::string encoder_state = "keep";  // or "recompute", "spill"
  bool chat = false;
  bool interactive = false;
  std::string on_full = "stop";  // or "drop"
  bool no_history = false;
  bool echo = false;
  bool json = false;
};

void add_generate_options(CLI::App& verb, GenerateOptions& options);

// What can be said about the options before a model is there: sampling beyond plain numbers, checked, and the grammar
// of --json-schema or --grammar. InputError for values out of range and options that exclude each other.
struct ReadOptions {
  GenerationOptions generation;
  std::optional<Grammar> grammar;
};
ReadOptions read_options(const GenerateOptions& options);

// For this model: with its EOS token, and the constraint over its vocabulary.
GenerationOptions options_for(const LoadedModel& loaded, const ReadOptions& options);

// What the caches keep, and where prefixes outlive the program.
void set_caches(EngineOptions& engine, const GenerateOptions& options);

// A conversation with the model. InputError when its tokenizer has no tokens for the roles.
ChatDialogue chat_dialogue(const LoadedModel& loaded);

}  // namespace tandem::app
