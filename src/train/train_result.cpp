#include "train/train_result.h"

#include <cmath>

#include "base/json.h"

namespace tandem {
namespace {

// JSON has no NaN: a loss that was not finite is null.
double number_or_nan(const Json& json, const char* key) {
  auto found = json.find(key);
  return found != json.end() && found->is_number() ? found->get<double>() : std::nan("");
}

OrderedJson communication_to_json(const CommunicationResult& c) {
  return {{"ranks", c.ranks},
          {"zero", c.zero},
          {"bytes_per_step", c.bytes_per_step},
          {"wait_seconds", c.wait_seconds},
          {"wait_share", c.step_seconds > 0 ? c.wait_seconds / c.step_seconds : 0}};
}

OrderedJson overlap_to_json(const OverlapResult& o) {
  return {{"steps", o.steps},
          {"step_seconds", o.step_seconds},
          {"data_seconds", o.data_seconds},
          {"data_wait_seconds", o.data_wait_seconds},
          {"checkpoints", o.checkpoints},
          {"checkpoint_seconds", o.checkpoint_seconds},
          {"checkpoint_wait_seconds", o.checkpoint_wait_seconds}};
}

OverlapResult overlap_from_json(const Json& json) {
  return {.steps = json.value("steps", int64_t{0}),
          .step_seconds = json.value("step_seconds", 0.0),
          .data_seconds = json.value("data_seconds", 0.0),
          .data_wait_seconds = json.value("data_wait_seconds", 0.0),
          .checkpoints = json.value("checkpoints", int64_t{0}),
          .checkpoint_seconds = json.value("checkpoint_seconds", 0.0),
          .checkpoint_wait_seconds = json.value("checkpoint_wait_seconds", 0.0)};
}

}  // namespace

OrderedJson to_json(const HeldOutScore& score) {
  return {{"heldout_loss", score.loss},
          {"heldout_bits_per_byte", score.bits_per_byte},
          {"heldout_accuracy", score.accuracy}};
}

HeldOutScore score_from_json(const Json& json) {
  return {number_or_nan(json, "heldout_loss"), number_or_nan(json, "heldout_bits_per_byte"),
          number_or_nan(json, "heldout_accuracy")};
}

OrderedJson to_json(const TrainResult& result) {
  OrderedJson json = {{"steps", result.steps}, {"tokens", result.tokens}, {"loss", result.loss}};
  if (result.heldout) {
    json.update(to_json(*result.heldout));
  } else {
    json["heldout_loss"] = json["heldout_bits_per_byte"] = json["heldout_accuracy"] = nullptr;
  }
  json["tokens_per_second"] = result.tokens_per_second;
  json["model"] = result.model.string();
  json["communication"] = result.communication ? communication_to_json(*result.communication) : OrderedJson();
  json["overlap"] = result.overlap ? overlap_to_json(*result.overlap) : OrderedJson();
  return json;
}

TrainResult finished_result(const Json& json) {
  TrainResult result;
  result.end = TrainResult::End::was_finished;
  result.steps = result.total_steps = json.value("steps", int64_t{0});
  result.tokens = json.value("tokens", int64_t{0});
  result.loss = json.value("loss", 0.0);
  result.tokens_per_second = json.value("tokens_per_second", 0.0);
  result.seconds = json.value("seconds", 0.0);
  if (json.contains("heldout_loss") && !json["heldout_loss"].is_null()) result.heldout = score_from_json(json);
  if (auto overlap = json.find("overlap"); overlap != json.end() && overlap->is_object()) {
    result.overlap = overlap_from_json(*overlap);
  }
  return result;
}

}  // namespace tandem
