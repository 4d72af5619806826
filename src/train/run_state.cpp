#include "train/run_state.h"

#include <fmt/format.h>

#include "base/json.h"

namespace tandem {

OrderedJson to_json(const Surroundings& s) {
  return {{"isa", s.isa}, {"precision", s.precision}, {"processor", s.processor}, {"matrix_library", s.matrix_library}};
}

Surroundings surroundings_from_json(const Json& json, const std::string& where) {
  return {.isa = json_string(json, "isa", where),
          .precision = json_string(json, "precision", where),
          .processor = json_string(json, "processor", where),
          .matrix_library = json_string(json, "matrix_library", where)};
}

std::string differences(const Surroundings& before, const Surroundings& now) {
  std::string text;
  auto compare = [&](const char* what, const std::string& a, const std::string& b) {
    if (a != b) text += fmt::format("{}{} {} instead of {}", text.empty() ? "" : ", ", what, b, a);
  };
  compare("instruction set", before.isa, now.isa);
  compare("precision", before.precision, now.precision);
  compare("processor", before.processor, now.processor);
  compare("matrix library", before.matrix_library, now.matrix_library);
  return text;
}

OrderedJson to_json(const RunState& state) {
  OrderedJson json{{"step", state.step},
                   {"updates", state.updates},
                   {"tokens", state.tokens},
                   {"skipped", state.skipped},
                   {"unlabelled_in_row", state.unlabelled_in_row},
                   {"loss", state.loss},
                   {"seconds", state.seconds},
                   {"window_loss", state.window_loss},
                   {"window_labelled", state.window_labelled},
                   {"log_bytes", state.log_bytes},
                   {"anchor", state.anchor},
                   {"guard", to_json(state.guard)},
                   {"best", {{"step", state.best.step}, {"loss", state.best.loss}}},
                   {"cursor", state.cursor},
                   {"heldout", state.heldout},
                   {"tokenizer", state.tokenizer}};
  json.update(to_json(state.surroundings));
  return json;
}

RunState run_state_from_json(const Json& json, const std::string& where) {
  RunState state;
  state.step = json_int(json, "step", where);
  state.updates = json_int(json, "updates", where);
  state.tokens = json_int(json, "tokens", where);
  state.skipped = json_int(json, "skipped", where);
  state.unlabelled_in_row = json_int(json, "unlabelled_in_row", where);
  state.loss = json_number(json, "loss", where);
  state.seconds = json_number(json, "seconds", where);
  state.window_loss = json_number(json, "window_loss", where);
  state.window_labelled = json_int(json, "window_labelled", where);
  state.log_bytes = json_int(json, "log_bytes", where);
  state.anchor = json_int(json, "anchor", where);
  state.guard = guard_state_from_json(json_at(json, "guard", where), where);
  const Json& best = json_at(json, "best", where);
  state.best = {.step = json_int(best, "step", where), .loss = json_number(best, "loss", where)};
  state.cursor = json_at(json, "cursor", where);
  state.heldout = json_at(json, "heldout", where);
  state.tokenizer = json_string(json, "tokenizer", where);
  state.surroundings = surroundings_from_json(json, where);
  return state;
}

}  // namespace tandem
