#include <bit>
#include <set>
#include <tuple>

#include "base/error.h"
#include "formats/torch_file.h"
#include "formats/zip_archive.h"

namespace tandem {
namespace {

constexpr uint32_t kAlignment = 64;          // torch.save's
constexpr const char* kFolder = "archive/";  // any name will do

std::string_view storage_global(DType type) {
  switch (type) {
    case DType::f32: return "FloatStorage";
    case DType::bf16: return "BFloat16Storage";
    case DType::f64:
    case DType::bf16_in_f64: return "DoubleStorage";
    case DType::i32: return "IntStorage";
    case DType::i64: return "LongStorage";
    case DType::u8: return "ByteStorage";
    case DType::f16: return "HalfStorage";
  }
  return "?";
}

// Writes the opcodes of protocol 2 that describe dictionaries of tensors and plain values (pickle.h reads them).
class PickleWriter {
 public:
  PickleWriter() : out_("\x80\x02") {}

  std::string finish() { return std::move(out_) + '.'; }
  void begin_dictionary() { out_ += "}("; }  // keys and values follow
  void end_dictionary() { out_ += 'u'; }

  void text(std::string_view text) {
    out_ += 'X';
    append(static_cast<uint32_t>(text.size()));
    out_ += text;
  }
  void boolean(bool value) { out_ += value ? '\x88' : '\x89'; }
  void integer(int64_t value) {
    if (value == static_cast<int32_t>(value)) {
      out_ += 'J';
      append(static_cast<int32_t>(value));
    } else {
      out_ += "\x8a\x08";
      append(value);
    }
  }
  void real(double value) {
    auto bits = std::bit_cast<uint64_t>(value);
    out_ += 'G';
    for (int shift = 56; shift >= 0; shift -= 8) out_ += static_cast<char>(bits >> shift & 0xFF);
  }

  // torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks)
  void tensor(const Tensor& t, const std::string& storage) {
    out_ += "ctorch._utils\n_rebuild_tensor_v2\n((";
    text("storage");
    out_ += "ctorch\n";
    out_ += storage_global(t.dtype);
    out_ += '\n';
    text(storage);
    text("cpu");
    integer(t.elements());
    out_ += "tQ";
    integer(0);
    sizes_and_strides(t.shape);
    boolean(false);
    out_ += "ccollections\nOrderedDict\n)RtR";
  }

 private:
  template <class T>
  void append(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void sizes_and_strides(const Shape& shape) {
    std::vector<int64_t> strides(static_cast<size_t>(shape.rank()), 1);
    for (size_t i = strides.size(); i-- > 1;)
      strides[i - 1] = strides[i] * std::max<int64_t>(shape[static_cast<int>(i)], 1);
    out_ += '(';
    for (int i = 0; i < shape.rank(); ++i) integer(shape[i]);
    out_ += "t(";
    for (int64_t stride : strides) integer(stride);
    out_ += 't';
  }

  std::string out_;
};

using StorageKey = std::tuple<const void*, DType, int64_t, int64_t>;
StorageKey storage_key(const Tensor& t) { return {t.data, t.dtype, t.elements(), t.contiguous() ? 0 : t.row_stride}; }

void write_elements(ZipWriter& writer, const Tensor& t) {
  if (t.contiguous()) return writer.write(t.data, static_cast<size_t>(t.bytes()));
  int64_t width = dtype_bytes(t.dtype);
  for (int64_t r = 0; r < t.rows(); ++r) {
    writer.write(static_cast<const char*>(t.data) + r * t.row_stride * width,
                 static_cast<size_t>(t.row_size() * width));
  }
}

void write_plain(PickleWriter& pickle, const TorchPlain& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return pickle.text(*text);
  if (const auto* integer = std::get_if<int64_t>(&value)) return pickle.integer(*integer);
  if (const auto* real = std::get_if<double>(&value)) return pickle.real(*real);
  pickle.boolean(std::get<bool>(value));
}

void check_names(std::span<const NamedTensor> entries, const std::string& key,
                 const std::map<std::string, TorchPlain>& plain) {
  std::set<std::string_view> names;
  for (const NamedTensor& e : entries) {
    if (!names.insert(e.name).second || (key.empty() && plain.contains(e.name))) {
      throw LogicError({.what = "tensor name is taken", .got = "'" + e.name + "'"});
    }
  }
  if (!key.empty() && plain.contains(key)) throw LogicError({.what = "key is taken", .got = "'" + key + "'"});
}

}  // namespace

void write_torch_file(const std::filesystem::path& path, std::span<const NamedTensor> entries, const std::string& key,
                      const std::map<std::string, TorchPlain>& plain) {
  check_names(entries, key, plain);
  std::map<StorageKey, std::string> known;
  std::vector<const Tensor*> storages;
  PickleWriter pickle;
  pickle.begin_dictionary();
  if (!key.empty()) {
    pickle.text(key);
    pickle.begin_dictionary();
  }
  for (const NamedTensor& e : entries) {
    auto [at, fresh] = known.emplace(storage_key(e.tensor), std::to_string(storages.size()));
    if (fresh) storages.push_back(&e.tensor);
    pickle.text(e.name);
    pickle.tensor(e.tensor, at->second);
  }
  if (!key.empty()) pickle.end_dictionary();
  for (const auto& [name, value] : plain) {
    pickle.text(name);
    write_plain(pickle, value);
  }
  pickle.end_dictionary();

  ZipWriter writer(path, kAlignment);
  auto small = [&](const std::string& name, std::string_view bytes) {
    writer.begin(kFolder + name, bytes.size());
    writer.write(bytes.data(), bytes.size());
  };
  small("data.pkl", pickle.finish());
  small("byteorder", "little");
  for (size_t i = 0; i < storages.size(); ++i) {
    writer.begin(kFolder + fmt::format("data/{}", i), static_cast<uint64_t>(storages[i]->bytes()));
    write_elements(writer, *storages[i]);
  }
  small("version", "3\n");
  writer.finish();
}

}  // namespace tandem
