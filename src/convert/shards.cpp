#include "convert/shards.h"

#include <fmt/format.h>

#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "formats/safetensors.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// Runs of tensors that fit into a file each.
std::vector<std::span<const NamedTensor>> cut(std::span<const NamedTensor> tensors, int64_t most_bytes) {
  std::vector<std::span<const NamedTensor>> runs;
  size_t begin = 0;
  int64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    int64_t own = tensors[i].tensor.bytes();
    if (i > begin && own > most_bytes - bytes) {
      runs.push_back(tensors.subspan(begin, i - begin));
      begin = i;
      bytes = 0;
    }
    bytes += own;
  }
  runs.push_back(tensors.subspan(begin));
  return runs;
}

}  // namespace

void write_shards(const fs::path& folder, std::span<const NamedTensor> tensors,
                  const std::map<std::string, std::string>& metadata, int64_t most_bytes) {
  std::vector<std::span<const NamedTensor>> runs = cut(tensors, most_bytes);
  if (runs.size() == 1) return write_safetensors(folder / "model.safetensors", tensors, metadata);
  int64_t bytes = 0;
  std::map<std::string, std::string> files;  // by tensor, in the order of names
  for (size_t i = 0; i < runs.size(); ++i) {
    std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, runs.size());
    write_safetensors(folder / name, runs[i], metadata);
    for (const NamedTensor& each : runs[i]) {
      bytes += each.tensor.bytes();
      files[each.name] = name;
    }
  }
  OrderedJson index{{"metadata", {{"total_size", bytes}}}, {"weight_map", files}};
  write_file_atomically(folder / "model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace tandem
