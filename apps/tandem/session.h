// A conversation of generate: what was said and written, the engine that answers, and what is shown of it.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "base/json.h"
#include "generate_options.h"
#include "infer/chat_dialogue.h"
#include "infer/text_dialogue.h"

namespace tandem::app {

class Session {
 public:
  // `terminal`: somebody watches. What is referred to must outlive the session.
  Session(Context& ctx, const LoadedModel& loaded, const GenerateOptions& options, const GenerationOptions& generation,
          bool terminal);

  // A turn: text to be answered. InputError when it cannot be; then it is forgotten.
  void say(std::string_view text);
  // Another answer to the last turn, drawn anew. InputError when there is none.
  void answer_again();
  // The last turn and its answer are forgotten.
  void undo();
  void reset();
  void set_system(std::string_view text);
  // The conversation as JSON lines read it, a plain text as it is. Only files that this session has written or read are
  // overwritten.
  void save(const std::string& file);
  void load(const std::string& file);
  void show() const;
  void show_statistics() const;
  // What a command answers: on standard output, unless that is for one JSON object.
  void print(std::string_view text) const;

  bool chat() const { return chat_ != nullptr; }
  bool empty() const { return chat_ ? chat_->turns() == 0 : text_->text().empty(); }
  OrderedJson json() const;

 private:
  void answer();
  EngineText write();
  void keep(const EngineText& text);
  void tell(const EngineText& text) const;
  OrderedJson turn_json(const EngineText& text) const;

  const LoadedModel& loaded_;
  const GenerateOptions& options_;
  GenerationOptions generation_;
  bool terminal_;
  Engine engine_;
  std::unique_ptr<ChatDialogue> chat_;  // one of the two
  std::unique_ptr<TextDialogue> text_;
  Dialogue& dialogue_;
  std::string said_;
  uint64_t attempt_ = 0;  // at answering the last turn
  std::set<std::string> own_files_;
  OrderedJson turns_ = OrderedJson::array();
};

// A line for the person, on standard error: dim on a terminal.
void note(std::string_view line);

}  // namespace tandem::app
