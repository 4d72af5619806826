// Tensor files, run logs.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/little_endian.h"
#include "formats/gguf.h"
#include "formats/run_log.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"
#include "targets.h"
#include "temporary_file.h"

namespace tandem::fuzz {

namespace {

// Every byte that is handed out can be read.
template <class File>
void open_and_read(const TemporaryFile& path, std::string_view bytes) {
  path.write(bytes);
  try {
    File file = File::open(path.path());
    unsigned sum = 0;
    for (const std::string& name : file.names()) {
      Tensor tensor = file.tensor(name);
      const auto* data = static_cast<const std::byte*>(tensor.data);
      size_t size = static_cast<size_t>(tensor.bytes());
      for (size_t i = 0; i < size; ++i) sum += std::to_integer<unsigned>(data[i]);
    }
    static std::atomic<unsigned> sink;
    sink = sum;  // so that the reading is not left out
  } catch (const InputError&) {
  }
}

}  // namespace

void safetensors(std::string_view bytes) {
  static const TemporaryFile file("model.safetensors");
  open_and_read<SafetensorsFile>(file, bytes);
}

namespace {

// A checkpoint with this pickle and a storage '0' of 64 bytes, checksums left out.
std::string archive_of(std::string_view pickle) {
  constexpr uint16_t kVersion = 20, kZero = 0;
  constexpr uint32_t kNone = 0;
  std::string out, directory;
  auto add = [&](std::string_view name, std::string_view bytes) {
    auto size = static_cast<uint32_t>(bytes.size());
    auto length = static_cast<uint16_t>(name.size());
    directory += little_endian(uint32_t{0x02014b50}, kVersion, kVersion, kZero, kZero, kNone, kNone, size, size, length,
                               kZero, kZero, kZero, kZero, kNone, static_cast<uint32_t>(out.size()));
    directory += name;
    out += little_endian(uint32_t{0x04034b50}, kVersion, kZero, kZero, kNone, kNone, size, size, length, kZero);
    out += name;
    out += bytes;
  };
  add("a/data.pkl", pickle);
  add("a/data/0", std::string(64, '\1'));
  auto begin = static_cast<uint32_t>(out.size()), size = static_cast<uint32_t>(directory.size());
  return out + directory + little_endian(uint32_t{0x06054b50}, kNone, uint16_t{2}, uint16_t{2}, size, begin, kZero);
}

}  // namespace

// An archive, or what begins with the opcode of a protocol: a pickle, around which a good archive is laid.
void torch_file(std::string_view bytes) {
  static const TemporaryFile file("model.pt");
  open_and_read<TorchFile>(file, bytes.starts_with('\x80') ? archive_of(bytes) : bytes);
}

void gguf(std::string_view bytes) {
  static const TemporaryFile file("model.gguf");
  open_and_read<GgufFile>(file, bytes);
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
