#include "tokenizer_encode.h"

#include <filesystem>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "data/source.h"
#include "input.h"
#include "output.h"
#include "text/encoder.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace tandem::app {
namespace {

// Text that is encoded in one go; bounds the memory beside the longest document.
constexpr size_t kBytesPerRound = size_t{8} << 20;

struct EncodeOptions {
  std::string tokenizer;
  std::string text;
  std::string file;
  std::vector<std::string> input;
  std::string output;
  int threads = 0;
  bool from_text = false;
  bool special = false;
  bool json = false;
};

std::string text_to_encode(const EncodeOptions& options) {
  if (options.from_text) {
    require_utf8(options.text, "TEXT");
    return options.text;
  }
  std::string text = options.file.empty() ? read_standard_input() : read_file(options.file);
  require_utf8(text, options.file.empty() ? "standard input" : options.file);
  return text;
}

int encode_text(const EncodeOptions& options, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids = tokenizer.encode(text_to_encode(options), options.special);
  if (options.json) {
    OrderedJson result;
    result["ids"] = ids;
    result["tokens"] = OrderedJson::array();
    for (int32_t id : ids) result["tokens"].push_back(tokenizer.id_to_token(id));
    write_json(result);
  } else {
    write_output(fmt::format("{}\n", fmt::join(ids, " ")));
  }
  return 0;
}

// Documents in rounds on a pool; the ids of each are one line, in the order of the documents.
class CorpusEncoder {
 public:
  CorpusEncoder(const EncodeOptions& options, const Tokenizer& tokenizer)
      : options_(options),
        pool_(options.threads > 0 ? options.threads : available_cores()),
        encoder_(tokenizer, pool_) {
    if (options.output.empty()) return;
    create_folder(std::filesystem::absolute(options.output).parent_path());
    output_.emplace(options.output);
  }

  int run() {
    double start = seconds_now();
    for_each_document(list_sources(options_.input), [&](std::string_view text) {
      texts_.emplace_back(text);
      waiting_bytes_ += text.size();
      if (waiting_bytes_ >= kBytesPerRound) encode_round();
    });
    encode_round();
    if (output_) output_->finish();
    report(seconds_now() - start);
    return 0;
  }

 private:
  void encode_round() {
    std::vector<std::string_view> texts(texts_.begin(), texts_.end());
    double start = seconds_now();
    auto ids = encoder_.encode(texts, options_.special);
    encode_seconds_ += seconds_now() - start;
    for (const auto& document : ids) tokens_ += document.size();
    write(ids);
    documents_ += texts_.size();
    bytes_ += waiting_bytes_;
    texts_.clear();
    waiting_bytes_ = 0;
  }

  void write(const std::vector<std::vector<int32_t>>& ids) {
    if (!output_ && options_.json) return;
    for (const auto& document : ids) {
      std::string line = fmt::format("{}\n", fmt::join(document, " "));
      if (output_) {
        output_->write(line);
      } else {
        write_output(line);
      }
    }
  }

  double rate() const { return encode_seconds_ > 0 ? static_cast<double>(bytes_) / 1e6 / encode_seconds_ : 0; }

  void report(double seconds) const {
    if (options_.json) {
      OrderedJson result;
      result["documents"] = documents_;
      result["bytes"] = bytes_;
      result["tokens"] = tokens_;
      result["threads"] = pool_.threads();
      result["seconds"] = seconds;
      result["encode_seconds"] = encode_seconds_;
      result["mb_per_second"] = rate();
      if (output_) result["output"] = options_.output;
      write_json(result);
      return;
    }
    std::string line = fmt::format("{} documents, {} bytes, {} tokens: {:.1f} MB/s with {} threads", documents_, bytes_,
                                   tokens_, rate(), pool_.threads());
    if (output_) {
      write_output(fmt::format("{}: {}\n", options_.output, line));
    } else {
      log::info("{}", line);
    }
  }

  const EncodeOptions& options_;
  ThreadPool pool_;
  BatchEncoder encoder_;
  std::optional<FileWriter> output_;
  std::vector<std::string> texts_;
  size_t waiting_bytes_ = 0;
  size_t documents_ = 0, bytes_ = 0, tokens_ = 0;
  double encode_seconds_ = 0;
};

int encode(const EncodeOptions& options) {
  Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  if (!options.input.empty()) return CorpusEncoder(options, tokenizer).run();
  if (!options.output.empty() || options.threads != 0) {
    throw InputError({.what = options.output.empty() ? "--threads without --input" : "--output without --input",
                      .expected = "--input FILE...",
                      .hint = "one text is encoded by one thread, to standard output"});
  }
  return encode_text(options, tokenizer);
}

}  // namespace

void add_tokenizer_encode(CLI::App& verb, Action& action) {
  auto options = std::make_shared<EncodeOptions>();
  CLI::App* command = verb.add_subcommand("encode", "Text to token ids");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->add_option("--tokenizer", options->tokenizer, "A tokenizer.json or a SentencePiece .model")->required();
  auto* text = command->add_option_function<std::string>(
      "TEXT",
      [options](const std::string& value) {
        options->text = value;
        options->from_text = true;
      },
      "The text; standard input when none of TEXT, --file and --input is given");
  auto* file = command->add_option("--file", options->file, "A file with the text")->excludes(text);
  command->add_option("--input", options->input, "A corpus: text files, .jsonl files, folders")
      ->excludes(text)
      ->excludes(file);
  command->add_option("--output", options->output, "With --input: the file to write, one line of ids per document");
  command->add_option("--threads", options->threads, "With --input: threads; 0: all cores")->check(CLI::Range(0, 1024));
  command->add_flag("--special", options->special, "Add the tokens of the post-processor, such as a BOS");
  command->callback([&action, options] { action = [options] { return encode(*options); }; });
}

}  // namespace tandem::app
