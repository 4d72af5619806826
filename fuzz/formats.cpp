// safetensors, run logs.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>

#include "base/error.h"
#include "formats/run_log.h"
#include "formats/safetensors.h"
#include "targets.h"
#include "temporary_file.h"

namespace tandem::fuzz {

void safetensors(std::string_view bytes) {
  static const TemporaryFile file("model.safetensors");
  file.write(bytes);
  try {
    SafetensorsFile tensors = SafetensorsFile::open(file.path());
    // Every byte that was handed out can be read.
    unsigned sum = 0;
    for (const std::string& name : tensors.names()) {
      Tensor tensor = tensors.tensor(name);
      const auto* data = static_cast<const std::byte*>(tensor.data);
      size_t size = static_cast<size_t>(tensor.bytes());
      for (size_t i = 0; i < size; ++i) sum += std::to_integer<unsigned>(data[i]);
    }
    static std::atomic<unsigned> sink;
    sink = sum;  // so that the reading is not left out
  } catch (const InputError&) {
  }
}

void run_log(std::string_view bytes) {
  try {
    RunLog log = parse_run_log(bytes, "log.jsonl");
    bool ascending = std::is_sorted(log.training.begin(), log.training.end(),
                                    [](const auto& a, const auto& b) { return a.step < b.step; });
    if (!ascending) std::abort();
  } catch (const InputError&) {
  }
}

}  // namespace tandem::fuzz
