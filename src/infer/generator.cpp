#include "infer/generator.h"

#include "base/error.h"

namespace tandem {

Generation Generator::run(const Prompt& prompt, const GenerationOptions& options, const OnToken& on_token,
                          const std::function<bool()>& cancelled) {
  return std::move(run_all(prompt, options, on_token, cancelled).completions.front());
}

GenerationResult Generator::run_all(const Prompt& prompt, const GenerationOptions& options, const OnToken& on_token,
                                    const std::function<bool()>& cancelled) {
  GenerationRequest request{.prompt = prompt, .options = options};
  if (on_token) {
    request.on_token = [&](int64_t completion, int32_t id) { return completion == 0 ? on_token(id) : Next::go_on; };
  }
  auto flag = std::make_shared<std::atomic<bool>>(false);
  request.cancelled = flag;
  Engine::Ticket ticket = engine_.submit(std::move(request));
  bool more = true;
  while (more) {
    if (cancelled && cancelled()) *flag = true;
    more = engine_.step();
  }
  GenerationResult result = engine_.wait(ticket);
  if (!result.error.empty()) throw InputError({.what = result.error});
  return result;
}

}  // namespace tandem
