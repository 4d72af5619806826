#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "formats/gguf.h"
#include "formats/gguf_blocks.h"

namespace tandem {
namespace {

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint32_t kVersion = 3;

[[noreturn]] void reject(std::string what, const std::string& name) {
  throw LogicError({.what = std::move(what), .got = "'" + name + "'"});
}

// The bytes before the data.
class Header {
 public:
  explicit Header(const std::string& magic) : out_(magic) {}

  template <class T>
  void number(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(std::string_view text) {
    number(static_cast<uint64_t>(text.size()));
    out_ += text;
  }
  void value(const GgufValue& v, const std::string& key) {
    number(static_cast<uint32_t>(v.type));
    std::visit([&](const auto& x) { scalar(v.type, x, key); }, v.value);
  }
  void pad(uint64_t alignment) { out_.resize((out_.size() + alignment - 1) / alignment * alignment, '\0'); }
  const std::string& bytes() const { return out_; }

 private:
  void scalar(GgufType type, int64_t x, const std::string& key) {
    switch (type) {
      case GgufType::u8: return narrow<uint8_t>(x, key);
      case GgufType::i8: return narrow<int8_t>(x, key);
      case GgufType::u16: return narrow<uint16_t>(x, key);
      case GgufType::i16: return narrow<int16_t>(x, key);
      case GgufType::u32: return narrow<uint32_t>(x, key);
      case GgufType::i32: return narrow<int32_t>(x, key);
      case GgufType::i64: return number(x);
      case GgufType::boolean: return number(static_cast<uint8_t>(x != 0));
      default: reject("metadata is no integer", key);
    }
  }
  void scalar(GgufType type, uint64_t x, const std::string& key) {
    if (type != GgufType::u64) reject("metadata is no u64", key);
    number(x);
  }
  void scalar(GgufType type, double x, const std::string& key) {
    if (type == GgufType::f32) return number(static_cast<float>(x));
    if (type != GgufType::f64) reject("metadata is no number", key);
    number(x);
  }
  void scalar(GgufType type, const std::string& x, const std::string& key) {
    if (type != GgufType::string) reject("metadata is no string", key);
    text(x);
  }
  void scalar(GgufType type, const GgufArray& x, const std::string& key) {
    if (type != GgufType::array) reject("metadata is no array", key);
    number(static_cast<uint32_t>(x.type));
    std::visit(
        [&](const auto& items) {
          number(static_cast<uint64_t>(items.size()));
          for (const auto& item : items) scalar(x.type, item, key);
        },
        x.items);
  }
  template <class T>
  void narrow(int64_t x, const std::string& key) {
    if (x != static_cast<int64_t>(static_cast<T>(x))) reject("metadata does not fit its type", key);
    number(static_cast<T>(x));
  }

  std::string out_;
};

uint64_t alignment_of(const std::vector<std::pair<std::string, GgufValue>>& metadata) {
  for (const auto& [key, value] : metadata) {
    if (key != "general.alignment") continue;
    const auto* x = std::get_if<int64_t>(&value.value);
    if (!x || *x < 1) reject("bad alignment", key);
    return static_cast<uint64_t>(*x);
  }
  return kDefaultAlignment;
}

uint64_t padded(uint64_t bytes, uint64_t alignment) { return (bytes + alignment - 1) / alignment * alignment; }

bool same_type(const GgufEntry& e) {
  return !gguf_is_converted(e.stored) && gguf_read_as(e.stored) == e.named.tensor.dtype;
}

void check(const GgufEntry& e) {
  const Tensor& t = e.named.tensor;
  bool real = t.dtype == DType::f32 || t.dtype == DType::bf16 || is_reference(t.dtype);
  if (!same_type(e) && !(real && gguf_can_pack(e.stored)))
    reject("tensor cannot be written as this type", e.named.name);
  int64_t columns = t.shape.rank() > 0 ? t.shape[t.shape.rank() - 1] : 1;
  if (is_quantized(e.stored) && columns % kGgufBlock != 0) {
    reject("rows of a quantized tensor must be multiples of 32", e.named.name);
  }
}

void write_tensor(FileWriter& writer, const GgufEntry& e, const std::string& file) {
  const Tensor& t = e.named.tensor;
  if (same_type(e) && t.contiguous()) return writer.write(t.data, static_cast<size_t>(t.bytes()));
  if (same_type(e)) {
    int64_t width = dtype_bytes(t.dtype), size = t.row_size();
    for (int64_t r = 0; r < t.rows(); ++r) {
      writer.write(static_cast<const char*>(t.data) + r * t.row_stride * width, static_cast<size_t>(size * width));
    }
    return;
  }
  // A vector is one row, whatever its elements' stride is.
  bool vector = t.shape.rank() == 1;
  int64_t rows = vector ? 1 : t.rows(), size = vector ? t.rows() : t.row_size();
  std::vector<float> row(static_cast<size_t>(size));
  std::vector<std::byte> packed(static_cast<size_t>(gguf_bytes(e.stored, size)));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < size; ++i) {
      row[static_cast<size_t>(i)] = static_cast<float>(vector ? load_element(t, i, 0) : load_element(t, r, i));
    }
    if (!gguf_pack(e.stored, row, packed.data())) {
      throw InputError({.what = "tensor cannot be quantized",
                        .where = fmt::format("tensor '{}' for {}", e.named.name, file),
                        .got = "infinite, too large or not a number",
                        .expected = fmt::format("numbers that {} holds", gguf_type_name(e.stored))});
    }
    writer.write(packed.data(), packed.size());
  }
}

}  // namespace

void write_gguf(const std::filesystem::path& path, std::span<const GgufEntry> entries,
                const std::vector<std::pair<std::string, GgufValue>>& metadata) {
  uint64_t alignment = alignment_of(metadata);
  Header header("GGUF");
  header.number(kVersion);
  header.number(static_cast<uint64_t>(entries.size()));
  header.number(static_cast<uint64_t>(metadata.size()));
  std::set<std::string_view> names;
  for (const auto& [key, value] : metadata) {
    if (!names.insert(key).second) reject("metadata key is taken", key);
    header.text(key);
    header.value(value, key);
  }
  names.clear();
  uint64_t at = 0;
  for (const GgufEntry& e : entries) {
    const Tensor& t = e.named.tensor;
    if (!names.insert(e.named.name).second) reject("tensor name is taken", e.named.name);
    check(e);
    header.text(e.named.name);
    header.number(static_cast<uint32_t>(t.shape.rank()));
    for (int i = t.shape.rank(); i-- > 0;) header.number(static_cast<uint64_t>(t.shape[i]));
    header.number(static_cast<uint32_t>(e.stored));
    header.number(at);
    at += padded(static_cast<uint64_t>(gguf_bytes(e.stored, t.elements())), alignment);
  }
  header.pad(alignment);
  FileWriter writer(path);
  writer.write(header.bytes());
  for (const GgufEntry& e : entries) {
    write_tensor(writer, e, path.string());
    writer.write(std::string(padded(writer.position(), alignment) - writer.position(), '\0'));
  }
  writer.finish();
}

}  // namespace tandem
