#include "session.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "data/conversation.h"
#include "interrupt.h"
#include "output.h"
#include "text/unicode.h"

namespace tandem::app {
namespace {

// Address space for the conversation as it is and for some of what /undo, /regen and dropped turns have left behind;
// the oldest of it is given up when a new turn needs the room.
EngineOptions engine_options(const Model& model, const GenerateOptions& options) {
  EngineOptions engine{.cache = {.tokens = 4 * (model.config().max_seq_len + kPageTokens)}, .most_sequences = 1};
  set_caches(engine, options);
  return engine;
}

std::filesystem::path expand(const std::string& file) {
  const char* home = std::getenv("HOME");
  if (home && file.starts_with("~/")) return std::filesystem::path(home) / file.substr(2);
  return file;
}

std::string in_bytes(int64_t bytes) {
  auto value = static_cast<double>(bytes);
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  if (bytes < 1024 * 1024) return fmt::format("{:.1f} KiB", value / 1024);
  return fmt::format("{:.1f} MiB", value / (1024 * 1024));
}

std::string rate(int64_t tokens, double seconds) {
  return seconds > 0 && tokens > 0 ? fmt::format("{:.0f}", static_cast<double>(tokens) / seconds) : "-";
}

int64_t read_tokens(const EngineText& text) {
  return text.written.tokens.prompt_tokens - 1 - text.reused_tokens;  // but for the one that opens the answer
}

std::string figures(const EngineText& text) {
  const Generation& tokens = text.written.tokens;
  auto written = static_cast<int64_t>(tokens.ids.size());
  return fmt::format(
      "prompt {} tokens: {} cached, {} new; first token after {:.1f} ms; read {}/s, wrote {} at {}/s; cache {}, {} "
      "with "
      "encoder",
      tokens.prompt_tokens, text.reused_tokens, tokens.prompt_tokens - text.reused_tokens,
      1e3 * text.first_token_seconds, rate(read_tokens(text), tokens.prefill_seconds), written,
      rate(written, tokens.decode_seconds), in_bytes(text.cache.live), in_bytes(text.cache.with_encoder));
}

OrderedJson messages_json(const ChatDialogue& chat) {
  OrderedJson list = OrderedJson::array();
  for (const ChatMessage& message : chat.messages()) {
    list.push_back({{"role", chat_role_name(message.role)}, {"content", message.content}});
  }
  return list;
}

}  // namespace

void note(std::string_view line) {
  bool dim = ::isatty(STDERR_FILENO) && !std::getenv("NO_COLOR");
  log::info("{}{}{}", dim ? "\x1b[2m" : "", line, dim ? "\x1b[0m" : "");
}

Session::Session(Context& ctx, const LoadedModel& loaded, const GenerateOptions& options,
                 const GenerationOptions& generation, bool terminal)
    : loaded_(loaded),
      options_(options),
      generation_(generation),
      terminal_(terminal),
      engine_(ctx, *loaded.model, engine_options(*loaded.model, options)),
      chat_(options.chat ? std::make_unique<ChatDialogue>(chat_dialogue(loaded)) : nullptr),
      text_(options.chat ? nullptr
                         : std::make_unique<TextDialogue>(loaded.tokenizer, loaded.document_tokens.bos, loaded.ends)),
      dialogue_(chat_ ? static_cast<Dialogue&>(*chat_) : *text_) {
  generation_.eos = dialogue_.ends();
}

void Session::say(std::string_view text) {
  require_utf8(text, "what was said");
  dialogue_.say(text);
  said_ = text;
  attempt_ = 0;
  if (!terminal_ && options_.echo && !options_.json) write_output(chat() ? said_ + "\n" : said_);
  answer();
}

void Session::answer_again() {
  if (!dialogue_.waiting() && !dialogue_.retract())
    throw InputError({.what = "there is no answer to be written again"});
  ++attempt_;
  answer();
}

// A turn without an answer is forgotten: the conversation is always ready for another.
void Session::answer() {
  EngineText text;
  try {
    text = write();
  } catch (const InputError&) {
    dialogue_.undo();
    throw;
  }
  if (!options_.json) write_output("\n");
  if (text.written.tokens.ids.empty()) {
    dialogue_.undo();
    return note("stopped before the first token: the turn is forgotten");
  }
  dialogue_.answer(text.written);
  if (options_.json) turns_.push_back(turn_json(text));
  tell(text);
}

EngineText Session::write() {
  const ModelConfig& config = loaded_.model->config();
  OnFull on_full = options_.on_full == "drop" ? OnFull::drop : OnFull::stop;
  std::string left_out = make_room(dialogue_, config.max_seq_len, generation_.max_tokens, on_full);
  if (!left_out.empty()) note(fmt::format("the model does not read {} any more", left_out));
  GenerationOptions generation = generation_;
  // Each turn draws anew, and the same turn at the same place of the conversation draws the same.
  generation.sampling.seed += static_cast<uint64_t>(dialogue_.turns() - 1) + (attempt_ << 32);
  auto on_text = [&](std::string_view piece) {
    if (!options_.json) write_output(piece);
  };
  return generate_text(engine_, loaded_.tokenizer, dialogue_.prompt(), generation, options_.stops, on_text,
                       interrupted);
}

void Session::tell(const EngineText& text) const {
  if (options_.interactive) note(figures(text));
  FinishReason reason = text.written.tokens.finish_reason;
  if (reason == FinishReason::context) {
    note(fmt::format("the text ends here because it is as long as the model's rows: {} tokens",
                     loaded_.model->config().max_seq_len));
  }
  if (reason == FinishReason::length && chat() && terminal_) {
    note(fmt::format("cut after {} tokens (--max-tokens)", text.written.tokens.ids.size()));
  }
  if (reason == FinishReason::cancelled) note("stopped");
}

void Session::undo() {
  std::optional<std::string> said = dialogue_.undo();
  if (!said) throw InputError({.what = "there is no turn to be forgotten"});
  attempt_ = 0;
  note(fmt::format("forgotten: {}", *said));
}

void Session::reset() {
  dialogue_.clear();
  attempt_ = 0;
  note("forgotten: everything that was said");
}

void Session::set_system(std::string_view text) {
  if (!chat_) throw InputError({.what = "a plain text has no system message", .hint = "start with --chat"});
  chat_->set_system(text);
  note(text.empty() ? "no system message" : "the system message is set; the conversation is read again from its start");
}

void Session::save(const std::string& file) {
  if (empty()) throw InputError({.what = "nothing was said that could be saved"});
  std::filesystem::path path = expand(file);
  std::string name = std::filesystem::absolute(path).lexically_normal().string();
  if (std::filesystem::exists(path) && !own_files_.contains(name)) {
    throw InputError({.what = "the file exists", .where = file, .hint = "give a name that is free"});
  }
  std::string bytes = text_ ? text_->text() : OrderedJson{{"messages", messages_json(*chat_)}}.dump(2) + "\n";
  write_file_atomically(path, bytes);
  own_files_.insert(name);
  note(fmt::format("saved to {}", file));
}

void Session::load(const std::string& file) {
  std::filesystem::path path = expand(file);
  std::string bytes = read_file(path);
  if (text_) {
    require_utf8(bytes, file);
    text_->load(bytes);
  } else {
    chat_->load(parse_conversation(parse_json(bytes, file), file));
  }
  attempt_ = 0;
  own_files_.insert(std::filesystem::absolute(path).lexically_normal().string());
  note(text_ ? fmt::format("{} bytes of text", bytes.size())
             : fmt::format("{} messages; /show writes them", chat_->messages().size()));
}

void Session::print(std::string_view text) const {
  if (!options_.json) return write_output(text);
  fmt::print(stderr, "{}", text);
}

void Session::show() const {
  if (text_) return print(text_->text() + "\n");
  for (const ChatMessage& message : chat_->messages()) {
    std::string_view mark = message.role == ChatRole::user ? "> " : message.role == ChatRole::system ? "/system " : "";
    print(fmt::format("{}{}\n", mark, message.content));
  }
}

void Session::show_statistics() const {
  const EngineStatistics& all = engine_.statistics();
  print(
      fmt::format("turns              {}\ntokens read        {}\ntokens not read    {}, known from before\n"
                  "tokens written     {}\nprefixes kept      {}\ncache in use       {}\n",
                  dialogue_.turns(), all.read_tokens, all.reused_tokens, all.written_tokens,
                  engine_.prefixes().states(), in_bytes(engine_.caches().bytes_in_use())));
}

OrderedJson Session::turn_json(const EngineText& text) const {
  const Generation& tokens = text.written.tokens;
  return {{"prompt", said_},
          {"text", text.written.text},
          {"ids", tokens.ids},
          {"finish_reason", finish_reason_name(tokens.finish_reason)},
          {"prompt_tokens", tokens.prompt_tokens},
          {"cached_tokens", text.reused_tokens},
          {"generated_tokens", tokens.ids.size()},
          {"first_token_seconds", text.first_token_seconds},
          {"prefill_seconds", tokens.prefill_seconds},
          {"decode_seconds", tokens.decode_seconds},
          {"tokens_per_second", tokens.tokens_per_second()},
          {"cache_bytes_live", text.cache.live},
          {"cache_bytes_with_encoder", text.cache.with_encoder}};
}

OrderedJson Session::json() const {
  OrderedJson json;
  if (chat_) json["messages"] = messages_json(*chat_);
  if (text_) json["text"] = text_->text();
  json["turns"] = turns_;
  return json;
}

}  // namespace tandem::app
