#include "infer/generator.h"

#include "base/error.h"

namespace tandem {

Generation Generator::run(const Prompt& prompt, const GenerationOptions& options, const OnToken& on_token) {
  GenerationRequest request{.prompt = prompt, .options = options};
  if (on_token) request.on_token = [&](int64_t, int32_t id) { return on_token(id); };
  GenerationResult result = engine_.wait(engine_.submit(std::move(request)));
  if (!result.error.empty()) throw InputError({.what = result.error});
  return std::move(result.completions.front());
}

}  // namespace tandem
