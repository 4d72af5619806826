// tandem tokenizer: train, encode, decode, check.
#include "text/tokenizer.h"

#include <charconv>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <sstream>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "data/source.h"
#include "input.h"
#include "output.h"
#include "text/bpe_trainer.h"
#include "tokenizer_check.h"
#include "tokenizer_encode.h"
#include "verbs.h"

namespace tandem::app {
namespace {

struct TrainOptions {
  std::vector<std::string> paths;
  std::string output;
  TrainBpeOptions bpe;
  bool json = false;
};

int train(const TrainOptions& options) {
  double start = seconds_now();
  TrainBpeOptions bpe = options.bpe;
  bpe.progress = [](int32_t size, int32_t wanted) {
    constexpr int32_t kEvery = 4096;
    if (size % kEvery == 0) log::info("{} of {} tokens", size, wanted);
  };
  BpeTrainer trainer(bpe);  // complains about its options before anything is read
  int64_t documents = 0;
  uint64_t bytes = 0;
  for_each_document(list_sources(options.paths), [&](std::string_view text) {
    trainer.add(text);
    ++documents;
    bytes += text.size();
  });
  log::info("counted the words of {} documents, {} bytes", documents, bytes);
  std::string json = trainer.train();
  Tokenizer tokenizer = Tokenizer::parse(json, options.output);
  create_folder(std::filesystem::absolute(options.output).parent_path());
  write_file_atomically(options.output, json);
  if (tokenizer.vocab_size() < bpe.vocab_size) {
    log::warn("the text has pairs for {} tokens only, {} were asked for", tokenizer.vocab_size(), bpe.vocab_size);
  }
  if (options.json) {
    OrderedJson result;
    result["output"] = options.output;
    result["vocab_size"] = tokenizer.vocab_size();
    result["documents"] = documents;
    result["bytes"] = bytes;
    result["hash"] = tokenizer.hash();
    result["seconds"] = seconds_now() - start;
    write_json(result);
  } else {
    write_output(fmt::format("{}: {} tokens from {} documents, {} bytes\n", options.output, tokenizer.vocab_size(),
                             documents, bytes));
  }
  return 0;
}

struct DecodeOptions {
  std::string tokenizer;
  std::vector<std::string> ids;
  bool skip_special = false;
  bool json = false;
};

std::vector<int32_t> parse_ids(std::vector<std::string> words) {
  if (words.empty()) {
    std::istringstream input(read_standard_input());
    words.assign(std::istream_iterator<std::string>(input), std::istream_iterator<std::string>());
  }
  std::vector<int32_t> ids;
  for (const std::string& word : words) {
    int32_t id = 0;
    auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size()) {
      throw InputError({.what = "not a token id", .where = "IDS", .got = "'" + word + "'", .expected = "an integer"});
    }
    ids.push_back(id);
  }
  return ids;
}

int decode(const DecodeOptions& options) {
  Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  std::string text = tokenizer.decode(parse_ids(options.ids), options.skip_special);
  if (options.json) {
    OrderedJson result;
    result["text"] = text;
    write_json(result);
  } else {
    write_output(text + "\n");
  }
  return 0;
}

struct CheckOptions {
  std::string tokenizer;
  std::vector<std::string> cases;
  bool json = false;
};

// The files that lie beside a tokenizer. Each format has its own: what the two libraries do with one vocabulary is not
// always the same.
std::vector<std::string> cases_beside(const std::filesystem::path& tokenizer) {
  bool json = tokenizer_format(tokenizer) == TokenizerFormat::json;
  std::vector<std::string> names{"cases_sentencepiece.jsonl"};
  if (json) names = {"cases.jsonl", "decode_cases.jsonl"};
  std::vector<std::string> found;
  for (const std::string& name : names) {
    auto path = tokenizer.parent_path() / name;
    if (std::filesystem::exists(path)) found.push_back(path.string());
  }
  if (found.empty()) {
    throw InputError({.what = "no cases beside the tokenizer",
                      .where = tokenizer.string(),
                      .expected = fmt::format("{}", fmt::join(names, " or ")),
                      .hint = "name them with --cases"});
  }
  return found;
}

int check(const CheckOptions& options) {
  Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  CaseReport report = check_cases(tokenizer, options.cases.empty() ? cases_beside(options.tokenizer) : options.cases);
  if (options.json) {
    write_json(to_json(report));
  } else {
    write_output(to_text(report));
  }
  return report.failed == 0 ? 0 : 1;
}

// Options live as long as the action that uses them.
template <class Options>
std::shared_ptr<Options> add_command(CLI::App& verb, Action& action, const char* name, const char* help,
                                     int (*run)(const Options&), CLI::App*& command) {
  auto options = std::make_shared<Options>();
  command = verb.add_subcommand(name, help);
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([&action, options, run] { action = [options, run] { return run(*options); }; });
  return options;
}

void add_train(CLI::App& verb, Action& action) {
  CLI::App* command = nullptr;
  auto options =
      add_command<TrainOptions>(verb, action, "train", "Learn a byte-level BPE tokenizer from text", train, command);
  command->add_option("PATH", options->paths, "Text: .txt and .jsonl files, folders")->required();
  command->add_option("--vocab-size", options->bpe.vocab_size, "Tokens, with special tokens and the 256 bytes")
      ->capture_default_str();
  command->add_option("--output", options->output, "The tokenizer.json to write")->required();
  command->add_option("--special", options->bpe.special_tokens, "Special tokens, ids 0, 1, ..., instead of the usual")
      ->capture_default_str();
  command->add_option("--min-frequency", options->bpe.min_frequency, "Rarer pairs are not merged")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
}

void add_decode(CLI::App& verb, Action& action) {
  CLI::App* command = nullptr;
  auto options = add_command<DecodeOptions>(verb, action, "decode", "Token ids to text", decode, command);
  command->add_option("--tokenizer", options->tokenizer, "A tokenizer.json or a SentencePiece .model")->required();
  command->add_option("IDS", options->ids, "The ids; from standard input when none is given");
  command->add_flag("--skip-special", options->skip_special, "Leave special tokens out");
}

void add_check(CLI::App& verb, Action& action) {
  CLI::App* command = nullptr;
  auto options =
      add_command<CheckOptions>(verb, action, "check", "Compare with recorded ids and texts", check, command);
  command->add_option("--tokenizer", options->tokenizer, "A tokenizer.json or a SentencePiece .model")->required();
  command->add_option(
      "--cases", options->cases,
      "JSONL: text, ids, ids_special, decoded, decoded_skip; without it, the files beside the tokenizer");
}

}  // namespace

void add_tokenizer_verb(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("tokenizer", "Train, use and check tokenizers");
  verb->require_subcommand(1);
  add_train(*verb, action);
  add_tokenizer_encode(*verb, action);
  add_decode(*verb, action);
  add_check(*verb, action);
}

}  // namespace tandem::app
