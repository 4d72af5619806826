// The steps of a decoder as stages of a stream. Between stages runs a sequence of tokens; a token may come in several
// chunks, because Fuse and ByteLevel make one token of the whole text and could not wait for its end.
#include "text/byte_alphabet.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/unicode.h"

namespace tandem {

class DecodeStream::Stage {
 public:
  virtual ~Stage() = default;
  // A part of the current token.
  virtual void chunk(std::string_view text) = 0;
  // The current token is complete (it may be empty).
  virtual void end_token() = 0;
  // The text is complete.
  virtual void finish() { next_->finish(); }

  void set_next(Stage* next) { next_ = next; }

 protected:
  void token(std::string_view text) {
    next_->chunk(text);
    next_->end_token();
  }
  Stage* next_ = nullptr;
};

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
using Stage = DecodeStream::Stage;

// The end of the chain.
class Collect final : public Stage {
 public:
  void set_output(std::string* out) { out_ = out; }
  void chunk(std::string_view text) override { *out_ += text; }
  void end_token() override {}
  void finish() override {}

 private:
  std::string* out_ = nullptr;
};

// Stages that need whole tokens.
class TokenStage : public Stage {
 public:
  void chunk(std::string_view text) override { token_ += text; }
  void end_token() override {
    whole_token(token_);
    token_.clear();
  }

 protected:
  virtual void whole_token(std::string_view token) = 0;

 private:
  std::string token_;
};

class JoinStage final : public Stage {
 public:
  void chunk(std::string_view text) override {
    if (space_is_due_) next_->chunk(" ");
    space_is_due_ = false;
    next_->chunk(text);
  }
  void end_token() override { space_is_due_ = true; }
  void finish() override {
    next_->end_token();
    next_->finish();
  }

 private:
  bool space_is_due_ = false;
};

class FuseStage final : public Stage {
 public:
  void chunk(std::string_view text) override { next_->chunk(text); }
  void end_token() override {}
  void finish() override {
    next_->end_token();
    next_->finish();
  }
};

class ByteLevelStage final : public TokenStage {
 public:
  void finish() override {
    std::string text;
    repair_.finish(text);
    token(text);
    next_->finish();
  }

 private:
  void whole_token(std::string_view written) override {
    std::string text;
    if (auto bytes = ByteAlphabet::get().decode(written)) {
      repair_.push(*bytes, text);
    } else {
      repair_.push(written, text);  // not in the alphabet: an added token, which stands for itself
    }
    next_->chunk(text);
  }

  Utf8Repair repair_;
};

class ByteFallbackStage final : public TokenStage {
 public:
  void finish() override {
    flush();
    next_->finish();
  }

 private:
  static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  }

  void whole_token(std::string_view text) override {
    bool byte = text.size() == 6 && text.starts_with("<0x") && text[5] == '>' && hex(text[3]) >= 0 && hex(text[4]) >= 0;
    if (byte) {
      bytes_ += static_cast<char>(hex(text[3]) * 16 + hex(text[4]));
    } else {
      flush();
      token(text);
    }
  }

  // A run of byte tokens is text if all of it is; otherwise every byte becomes U+FFFD.
  void flush() {
    if (bytes_.empty()) return;
    if (valid_utf8_prefix(bytes_) == bytes_.size()) {
      token(bytes_);
    } else {
      for (size_t i = 0; i < bytes_.size(); ++i) token(kReplacement);
    }
    bytes_.clear();
  }

  std::string bytes_;
};

class ReplaceStage final : public TokenStage {
 public:
  explicit ReplaceStage(const Decoder::Replace& step) : step_(step) {}

 private:
  void whole_token(std::string_view text) override {
    token(step_.literal.empty() ? replace_all(text, step_.pattern, step_.content)
                                : replace_literal(text, step_.literal, step_.content));
  }
  const Decoder::Replace& step_;
};

class MetaspaceStage final : public TokenStage {
 public:
  explicit MetaspaceStage(const Decoder::Metaspace& step) : step_(step) {}

 private:
  void whole_token(std::string_view text) override {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      if (text.substr(at).starts_with(step_.replacement)) {
        if (!first_ || !step_.drop_in_first) out += ' ';
        at += step_.replacement.size();
      } else {
        out += text[at++];
      }
    }
    first_ = false;
    token(out);
  }
  const Decoder::Metaspace& step_;
  bool first_ = true;
};

// Takes up to `start` and `stop` of a character away from the ends of each token.
class StripStage final : public Stage {
 public:
  explicit StripStage(const Decoder::Strip& step) : step_(step) {}

  void chunk(std::string_view text) override {
    while (text.starts_with(step_.content) && at_start_ && stripped_ < step_.start) {
      text.remove_prefix(step_.content.size());
      ++stripped_;
    }
    if (text.empty()) return;
    at_start_ = false;
    // What could still be stripped from the end waits.
    size_t keep = text.size();
    int64_t trailing = 0;
    while (trailing < step_.stop && text.substr(0, keep).ends_with(step_.content)) {
      keep -= step_.content.size();
      ++trailing;
    }
    if (keep > 0) {
      release(waiting_);
      next_->chunk(text.substr(0, keep));
      waiting_ = trailing;
    } else {
      waiting_ += trailing;
      if (waiting_ > step_.stop) {
        release(waiting_ - step_.stop);
        waiting_ = step_.stop;
      }
    }
  }

  void end_token() override {
    next_->end_token();
    at_start_ = true;
    stripped_ = 0;
    waiting_ = 0;
  }

 private:
  void release(int64_t count) {
    for (int64_t i = 0; i < count; ++i) next_->chunk(step_.content);
  }

  const Decoder::Strip& step_;
  bool at_start_ = true;
  int64_t stripped_ = 0;
  int64_t waiting_ = 0;  // stripping characters at the end of what has come so far
};

// As SentencePiece decodes (sentencepiece_processor.cc, 0.2): bytes become characters as soon as they are whole, and
// each that belongs to none becomes U+FFFD; spaces at the very beginning were not in the text.
class SentencePieceStage final : public TokenStage {
 public:
  explicit SentencePieceStage(const Decoder::SentencePiece& step) : step_(step) {}

  void finish() override {
    std::string out;
    flush(out);
    token(out);
    next_->finish();
  }

 private:
  void whole_token(std::string_view tagged) override {
    SentencePieceTag tag{tagged[0]};
    std::string_view text = tagged.substr(1);
    std::string out;
    if (tag == SentencePieceTag::byte) {
      bytes_ += text;
      take_characters(out);
    } else {
      flush(out);
    }
    if (!out.empty()) at_start_ = false;
    if (tag == SentencePieceTag::unknown) {
      out += step_.unknown;
    } else if (tag == SentencePieceTag::text) {
      append_text(text, out);
    }
    if (!out.empty()) at_start_ = false;
    token(out);
  }

  void append_text(std::string_view text, std::string& out) {
    if (at_start_ && (step_.drop_first_space || step_.drop_all_spaces) && text.starts_with(kSpaceMark)) {
      text.remove_prefix(kSpaceMark.size());
      if (!step_.drop_all_spaces) at_start_ = false;
    }
    out += replace_literal(text, kSpaceMark, " ");
  }

  // Leaves only what may be the beginning of a character.
  void take_characters(std::string& out) {
    while (!bytes_.empty()) {
      size_t valid = valid_utf8_prefix(bytes_);
      out += bytes_.substr(0, valid);
      bytes_.erase(0, valid);
      if (bytes_.empty() || may_begin_character(bytes_)) return;
      out += kReplacement;
      bytes_.erase(0, 1);
    }
  }

  void flush(std::string& out) {
    for (take_characters(out); !bytes_.empty(); take_characters(out)) {
      out += kReplacement;
      bytes_.erase(0, 1);
    }
  }

  static constexpr std::string_view kSpaceMark = "\u2581";
  const Decoder::SentencePiece& step_;
  bool at_start_ = true;
  std::string bytes_;  // of byte pieces: the beginning of a character
};

struct MakeStage {
  std::unique_ptr<Stage> operator()(const Decoder::JoinBySpaces&) const { return std::make_unique<JoinStage>(); }
  std::unique_ptr<Stage> operator()(const Decoder::ByteLevel&) const { return std::make_unique<ByteLevelStage>(); }
  std::unique_ptr<Stage> operator()(const Decoder::ByteFallback&) const {
    return std::make_unique<ByteFallbackStage>();
  }
  std::unique_ptr<Stage> operator()(const Decoder::Fuse&) const { return std::make_unique<FuseStage>(); }
  std::unique_ptr<Stage> operator()(const Decoder::Replace& step) const { return std::make_unique<ReplaceStage>(step); }
  std::unique_ptr<Stage> operator()(const Decoder::Strip& step) const { return std::make_unique<StripStage>(step); }
  std::unique_ptr<Stage> operator()(const Decoder::Metaspace& step) const {
    return std::make_unique<MetaspaceStage>(step);
  }
  std::unique_ptr<Stage> operator()(const Decoder::SentencePiece& step) const {
    return std::make_unique<SentencePieceStage>(step);
  }
};

}  // namespace

DecodeStream::DecodeStream(const Decoder& decoder) {
  for (const Decoder::Step& step : decoder.steps()) stages_.push_back(std::visit(MakeStage{}, step));
  stages_.push_back(std::make_unique<Collect>());
  for (size_t i = 0; i + 1 < stages_.size(); ++i) stages_[i]->set_next(stages_[i + 1].get());
}

DecodeStream::~DecodeStream() = default;
DecodeStream::DecodeStream(DecodeStream&&) noexcept = default;
DecodeStream& DecodeStream::operator=(DecodeStream&&) noexcept = default;

void DecodeStream::push(std::string_view token, std::string& out) {
  static_cast<Collect&>(*stages_.back()).set_output(&out);
  stages_.front()->chunk(token);
  stages_.front()->end_token();
}

void DecodeStream::finish(std::string& out) {
  static_cast<Collect&>(*stages_.back()).set_output(&out);
  stages_.front()->finish();
}

}  // namespace tandem
