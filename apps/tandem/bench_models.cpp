#include "bench_models.h"

#include <algorithm>

#include "arch/model_folder.h"
#include "base/error.h"
#include "eval/sequence_load.h"
#include "model_options.h"
#include "train/init.h"

namespace tandem::app {

BenchSubject read_bench_subject(const std::string& name, const std::vector<std::string>& overrides, int64_t context,
                                bool strict) {
  BenchSubject subject;
  if (std::filesystem::is_regular_file(std::filesystem::path(name) / "config.json")) {
    if (!overrides.empty()) {
      throw InputError({.what = "a model's config can't be overridden",
                        .where = name,
                        .got = "'" + overrides.front() + "'",
                        .hint = "measure a run config (.toml) to try other sizes"});
    }
    subject.config = read_model_config(name);
    subject.folder = name;
    int64_t longest = subject.config.max_seq_len - positions_behind_context(subject.config);
    if (strict && context > longest) {
      throw InputError({.what = "context longer than the model's rows",
                        .where = "--context",
                        .got = fmt::format("{}", context),
                        .expected = fmt::format("at most {}", longest)});
    }
    return subject;
  }
  subject.config = resolve_model(load_run_config(name, overrides));
  subject.config.max_seq_len = std::max(subject.config.max_seq_len, context + positions_behind_context(subject.config));
  // Which token begins a text matters to what is written, not to how fast.
  subject.config.bos_id = std::max<int64_t>(subject.config.bos_id, 0);
  subject.config.eos_id = std::max<int64_t>(subject.config.eos_id, 0);
  subject.config.validate(name);
  return subject;
}

std::unique_ptr<Model> make_bench_model(const BenchSubject& subject, const Precision& precision,
                                        const std::string& quantize, Context& ctx) {
  std::unique_ptr<Model> model;
  if (!subject.folder.empty()) {
    model = load_model(subject.folder, precision, ParameterStore::Gradients::none);
  } else {
    model = make_model(subject.config, precision, ParameterStore::Gradients::none, "model");
    model->parameters().initialise(1);
  }
  model->parameters().pack(ctx, weight_format(quantize, precision));
  return model;
}

}  // namespace tandem::app
