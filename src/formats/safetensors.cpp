#include "formats/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "tensor/make_shape.h"

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian and read in place");

namespace tandem {
namespace {

constexpr const char* kMetadataKey = "__metadata__";
constexpr uint64_t kLengthBytes = 8;
// The limit of the format's own reader: a length beyond it is a damaged file, not a large model.
constexpr uint64_t kLongestHeader = 100'000'000;

struct Record {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  uint64_t begin = 0;  // from the end of the header
  uint64_t end = 0;
};

// Where a tensor's problem is, for messages.
std::string tensor_place(const std::string& name, const std::string& file) {
  return fmt::format("tensor '{}' of {}", name, file);
}

std::optional<DType> parse_dtype(std::string_view name) {
  if (name == "F32") return DType::f32;
  if (name == "BF16") return DType::bf16;
  if (name == "F16") return DType::f16;
  if (name == "F64") return DType::f64;
  if (name == "I32") return DType::i32;
  if (name == "I64") return DType::i64;
  if (name == "U8" || name == "BOOL") return DType::u8;
  return std::nullopt;
}

const char* stored_name(DType dtype) {
  switch (dtype) {
    case DType::f32: return "F32";
    case DType::bf16: return "BF16";
    case DType::f16: return "F16";
    case DType::f64:
    case DType::bf16_in_f64: return "F64";
    case DType::i32: return "I32";
    case DType::i64: return "I64";
    case DType::u8: return "U8";
  }
  return "?";
}

std::string short_dump(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 80 ? text.substr(0, 77) + "..." : text;
}

// A non-negative integer, or nothing.
std::optional<int64_t> as_size(const Json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() ? value.get<uint64_t>() > uint64_t{INT64_MAX} : value.get<int64_t>() < 0) {
    return std::nullopt;
  }
  return value.get<int64_t>();
}

std::vector<int64_t> as_sizes(const Json& value, const char* key, const std::string& where) {
  auto fail = [&] {
    throw InputError({.what = fmt::format("bad '{}'", key),
                      .where = where,
                      .got = short_dump(value),
                      .expected = "a list of integers from 0 to 2^63-1"});
  };
  if (!value.is_array()) fail();
  std::vector<int64_t> out;
  for (const Json& item : value) {
    std::optional<int64_t> size = as_size(item);
    if (!size) fail();
    out.push_back(*size);
  }
  return out;
}

Record parse_record(const std::string& name, const Json& info, uint64_t buffer_bytes, const std::string& file) {
  std::string where = tensor_place(name, file);
  Record record{.name = name};
  std::string dtype = json_string(info, "dtype", where);
  std::optional<DType> known = parse_dtype(dtype);
  if (!known) {
    throw InputError({.what = "unsupported element type",
                      .where = where,
                      .got = "'" + dtype + "'",
                      .expected = "F32, BF16, F16, F64, I32, I64, U8 or BOOL"});
  }
  record.dtype = *known;
  std::vector<int64_t> dims = as_sizes(json_at(info, "shape", where), "shape", where);
  if (dims.size() > Shape::kMostDims) {
    throw InputError({.what = "too many dimensions",
                      .where = where,
                      .got = fmt::format("{}", dims.size()),
                      .expected = fmt::format("at most {}", Shape::kMostDims)});
  }
  std::optional<int64_t> elements = element_count(dims);
  if (!elements) {
    throw InputError({.what = "shape is too large",
                      .where = where,
                      .got = short_dump(info.at("shape")),
                      .expected = "fewer than 2^60 elements"});
  }
  auto bytes = static_cast<uint64_t>(*elements * dtype_bytes(record.dtype));
  record.shape = make_shape(dims);
  std::vector<int64_t> offsets = as_sizes(json_at(info, "data_offsets", where), "data_offsets", where);
  if (offsets.size() != 2 || offsets[0] > offsets[1] || static_cast<uint64_t>(offsets[1]) > buffer_bytes) {
    throw InputError({.what = "bad 'data_offsets'",
                      .where = where,
                      .got = short_dump(info.at("data_offsets")),
                      .expected = fmt::format("[begin, end] within the file's {} bytes of data", buffer_bytes)});
  }
  record.begin = static_cast<uint64_t>(offsets[0]);
  record.end = static_cast<uint64_t>(offsets[1]);
  if (record.end - record.begin != bytes) {
    throw InputError({.what = "offsets do not match the shape",
                      .where = where,
                      .got = fmt::format("{} bytes", record.end - record.begin),
                      .expected = fmt::format("{} bytes for {} {}", bytes, dtype, record.shape.text())});
  }
  return record;
}

std::map<std::string, std::string> parse_metadata(const Json& value, const std::string& file) {
  auto fail = [&](const Json& got) {
    throw InputError({.what = "bad '__metadata__'",
                      .where = file,
                      .got = short_dump(got),
                      .expected = "an object whose values are strings"});
  };
  if (!value.is_object()) fail(value);
  std::map<std::string, std::string> out;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) fail(text);
    out.emplace(key, text.get<std::string>());
  }
  return out;
}

// The header's text, its length checked against the file.
std::string_view header_text(const MappedFile& map) {
  std::string_view text = map.text();
  auto fail = [&](std::string got, std::string expected) {
    throw InputError({.what = "not a safetensors file, or a truncated one",
                      .where = map.path().string(),
                      .got = std::move(got),
                      .expected = std::move(expected)});
  };
  if (text.size() < kLengthBytes) {
    fail(fmt::format("{} bytes", text.size()), "8 bytes of header length, a header and data");
  }
  uint64_t length = 0;
  std::memcpy(&length, text.data(), kLengthBytes);
  if (length > kLongestHeader || length > text.size() - kLengthBytes) {
    fail(fmt::format("a header length of {}", length),
         fmt::format("at most {}", std::min<uint64_t>(kLongestHeader, text.size() - kLengthBytes)));
  }
  std::string_view header = text.substr(kLengthBytes, length);
  if (!header.starts_with('{')) fail("a header that does not start with '{'", "a JSON object");
  return header;
}

// The tensors must cover the data exactly: bytes that belong to none or to two of them are damage, or an
// attempt to smuggle something past the reader.
void check_cover(const std::vector<Record>& sorted, uint64_t buffer_bytes, const std::string& file) {
  uint64_t covered = 0;
  for (const Record& r : sorted) {
    if (r.begin != covered) {
      throw InputError({.what = r.begin < covered ? "tensors overlap" : "bytes that belong to no tensor",
                        .where = tensor_place(r.name, file),
                        .got = fmt::format("begin {}", r.begin),
                        .expected = fmt::format("begin {}", covered)});
    }
    covered = r.end;
  }
  if (covered != buffer_bytes) {
    throw InputError({.what = "bytes that belong to no tensor",
                      .where = file,
                      .got = fmt::format("{} bytes of data", buffer_bytes),
                      .expected = fmt::format("{}", covered)});
  }
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile out;
  out.map_ = MappedFile(path);
  std::string file = path.string();
  std::string_view text = header_text(out.map_);
  uint64_t data_start = kLengthBytes + text.size();
  uint64_t buffer_bytes = out.map_.bytes().size() - data_start;

  Json header = parse_json(text, file + " (header)");
  std::vector<Record> records;
  for (const auto& [name, info] : header.items()) {
    if (name == kMetadataKey) {
      out.metadata_ = parse_metadata(info, file);
    } else {
      records.push_back(parse_record(name, info, buffer_bytes, file));
    }
  }
  std::stable_sort(records.begin(), records.end(), [](const Record& a, const Record& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  check_cover(records, buffer_bytes, file);

  for (Record& r : records) {
    // The map is read-only; Tensor has one pointer type for all.
    auto* data = const_cast<std::byte*>(out.map_.bytes().data() + data_start + r.begin);
    if ((data_start + r.begin) % static_cast<uint64_t>(dtype_bytes(r.dtype)) != 0 && r.end > r.begin) {
      data = out.copies_.emplace_back(data, data + (r.end - r.begin)).data();
    }
    out.names_.push_back(r.name);
    out.tensors_.emplace(std::move(r.name), Tensor(data, r.dtype, r.shape));
  }
  return out;
}

Tensor SafetensorsFile::tensor(std::string_view name) const {
  auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    throw InputError({.what = "missing tensor",
                      .where = path().string(),
                      .expected = fmt::format("'{}'", name),
                      .hint = fmt::format("the file has {} tensors", tensors_.size())});
  }
  return found->second;
}

namespace {

std::vector<const SafetensorsEntry*> file_order(std::span<const SafetensorsEntry> entries) {
  std::vector<const SafetensorsEntry*> order;
  for (const SafetensorsEntry& e : entries) order.push_back(&e);
  std::sort(order.begin(), order.end(), [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    int64_t size_a = dtype_bytes(a->tensor.dtype), size_b = dtype_bytes(b->tensor.dtype);
    return size_a != size_b ? size_a > size_b : a->name < b->name;
  });
  return order;
}

std::string header_for(std::span<const SafetensorsEntry* const> order,
                       const std::map<std::string, std::string>& metadata) {
  OrderedJson header = OrderedJson::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  uint64_t at = 0;
  for (const SafetensorsEntry* e : order) {
    if (e->name == kMetadataKey || header.contains(e->name)) {
      throw LogicError({.what = "tensor name is taken", .got = "'" + e->name + "'"});
    }
    OrderedJson shape = OrderedJson::array();
    for (int i = 0; i < e->tensor.shape.rank(); ++i) shape.push_back(e->tensor.shape[i]);
    uint64_t end = at + static_cast<uint64_t>(e->tensor.bytes());
    header[e->name] = {{"dtype", stored_name(e->tensor.dtype)}, {"shape", shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::span<const SafetensorsEntry> entries,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const SafetensorsEntry*> order = file_order(entries);
  std::string header = header_for(order, metadata);
  FileWriter writer(path);
  uint64_t length = header.size();
  writer.write(&length, kLengthBytes);
  writer.write(header);
  for (const SafetensorsEntry* e : order) {
    const Tensor& t = e->tensor;
    int64_t width = dtype_bytes(t.dtype);
    if (t.contiguous()) {
      writer.write(t.data, static_cast<size_t>(t.bytes()));
      continue;
    }
    for (int64_t r = 0; r < t.rows(); ++r) {
      const char* row = static_cast<const char*>(t.data) + r * t.row_stride * width;
      writer.write(row, static_cast<size_t>(t.row_size() * width));
    }
  }
  writer.finish();
}

}  // namespace tandem
