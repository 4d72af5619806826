#include "validation.h"

#include "base/json.h"
#include "eval/choice.h"
#include "eval/perplexity.h"
#include "infer/text_generation.h"

namespace tandem::app {
namespace {

// The same draws at every validation, so that samples differ by what the model has learnt.
constexpr uint64_t kSampleSeed = 1;

std::string sample(Context& ctx, Model& model, const RunData& data, const EvaluationConfig& config) {
  Generator generator(ctx, model);
  GenerationOptions options;
  options.max_tokens = config.sample_tokens;
  options.sampling.temperature = 0.7;
  options.sampling.top_k = 40;
  options.sampling.seed = kSampleSeed;
  options.eos = {data.tokens.document_tokens().eos};
  std::vector<int32_t> ids = encode_prompt(data.tokenizer, config.prompt, data.tokens.document_tokens().bos);
  return generate_text(generator, data.tokenizer, Prompt::continue_text(ids), options, {}).text;
}

}  // namespace

HeldOutScore validate(Model& model, Tape& tape, const HeldOut& rows) {
  EvalResult result = evaluate(model, tape, rows);
  return {.loss = result.loss(), .bits_per_byte = result.bits_per_byte(), .accuracy = result.accuracy()};
}

DownstreamEvaluation::DownstreamEvaluation(const EvaluationConfig& config) : config_(config) {
  for (const std::string& file : config.choice) sets_.push_back(read_choice_set(file, config.choice_items));
}

OrderedJson DownstreamEvaluation::operator()(Model& model, Tape& tape, const RunData& data) const {
  OrderedJson line = OrderedJson::object();
  const DocumentTokens& ends = data.tokens.document_tokens();
  Subject subject{model, tape, data.tokenizer, ends.bos, ends.eos};
  for (const ChoiceSet& set : sets_) {
    ChoiceResult result = evaluate_choice(subject, set);
    if (result.items == 0) continue;  // no question fits into the model's rows
    line["choice/" + set.name] = result.accuracy.value();
    if (result.accuracy_per_byte) line["choice_per_byte/" + set.name] = result.accuracy_per_byte->value();
  }
  if (!config_.prompt.empty()) line["sample"] = sample(tape.context(), model, data, config_);
  return line;
}

}  // namespace tandem::app
