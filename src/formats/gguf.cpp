#include "formats/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "formats/clean_text.h"
#include "formats/gguf_blocks.h"
#include "tensor/make_shape.h"

static_assert(std::endian::native == std::endian::little, "GGUF is little-endian and read in place");

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kOldest = 2, kNewest = 3;
constexpr uint64_t kDefaultAlignment = 32, kLargestAlignment = 65536;
constexpr uint64_t kLongestName = 65535;  // of keys, by the format
// Elements of all arrays together. The largest vocabularies have a quarter of a million entries.
constexpr uint64_t kMostElements = uint64_t{1} << 24;
constexpr int kDeepest = 8;                                   // arrays of arrays
constexpr uint64_t kShortestTensor = 24, kShortestPair = 13;  // in bytes: an empty name or key, and the least after it

const char* value_type_name(GgufType type) {
  switch (type) {
    case GgufType::u8: return "u8";
    case GgufType::i8: return "i8";
    case GgufType::u16: return "u16";
    case GgufType::i16: return "i16";
    case GgufType::u32: return "u32";
    case GgufType::i32: return "i32";
    case GgufType::f32: return "f32";
    case GgufType::boolean: return "bool";
    case GgufType::string: return "a string";
    case GgufType::array: return "an array";
    case GgufType::u64: return "u64";
    case GgufType::i64: return "i64";
    case GgufType::f64: return "f64";
  }
  return "?";
}

// The fewest bytes that a value takes.
uint64_t least_bytes(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean: return 1;
    case GgufType::u16:
    case GgufType::i16: return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32: return 4;
    case GgufType::string:
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64: return 8;
    case GgufType::array: return 12;
  }
  return 1;
}

struct Record {
  GgufTensorType type = GgufTensorType::f32;
  Shape shape;
  uint64_t begin = 0, bytes = 0;  // from the beginning of the data
};

// Reads the part before the data from front to back.
class HeaderReader {
 public:
  explicit HeaderReader(const MappedFile& map) : text_(map.text()), file_(map.path().string()) {}

  uint64_t at() const { return at_; }
  const std::string& file() const { return file_; }
  void set_where(std::string where) { where_ = std::move(where); }
  [[noreturn]] void refuse(std::string what, std::string got, std::string expected, std::string hint = {}) const {
    throw InputError({.what = std::move(what),
                      .where = where_.empty() ? file_ : fmt::format("{} of {}", where_, file_),
                      .got = std::move(got),
                      .expected = std::move(expected),
                      .hint = std::move(hint)});
  }

  uint64_t left() const { return text_.size() - at_; }
  std::string_view take_bytes(uint64_t count) {
    if (count > left()) {
      refuse("not a GGUF file, or a truncated one", fmt::format("{} bytes", left()), fmt::format("{} more", count));
    }
    std::string_view out = text_.substr(at_, count);
    at_ += count;
    return out;
  }
  template <class T>
  T take() {
    T out;
    std::memcpy(&out, take_bytes(sizeof out).data(), sizeof out);
    return out;
  }
  std::string_view take_text() { return take_bytes(take<uint64_t>()); }
  std::string take_name(const char* what) {
    std::string_view name = take_text();
    if (name.empty() || name.size() > kLongestName || !is_utf8(name)) {
      refuse(fmt::format("bad {}", what), fmt::format("'{}', {} bytes", name.substr(0, 80), name.size()),
             fmt::format("1 to {} bytes of UTF-8", kLongestName));
    }
    return std::string(name);
  }

  GgufType take_type() {
    auto number = take<uint32_t>();
    if (number > static_cast<uint32_t>(GgufType::f64)) {
      refuse("unknown type of metadata", fmt::format("{}", number), "0 to 12");
    }
    return static_cast<GgufType>(number);
  }
  GgufValue take_value() {
    GgufType type = take_type();
    GgufValue out{.type = type};
    switch (type) {
      case GgufType::string: out.value = std::string(take_text()); break;
      case GgufType::array: out.value = take_array(1); break;
      case GgufType::f32:
      case GgufType::f64: out.value = take_number(type); break;
      case GgufType::u64: out.value = take<uint64_t>(); break;
      default: out.value = take_integer(type); break;
    }
    return out;
  }

 private:
  int64_t take_integer(GgufType type) {
    switch (type) {
      case GgufType::u8: return take<uint8_t>();
      case GgufType::i8: return take<int8_t>();
      case GgufType::u16: return take<uint16_t>();
      case GgufType::i16: return take<int16_t>();
      case GgufType::u32: return take<uint32_t>();
      case GgufType::i32: return take<int32_t>();
      case GgufType::boolean: {
        auto value = take<uint8_t>();
        if (value > 1) refuse("bad bool", fmt::format("{}", value), "0 or 1");
        return value;
      }
      default: return take<int64_t>();
    }
  }
  double take_number(GgufType type) { return type == GgufType::f32 ? double{take<float>()} : take<double>(); }

  template <class Take>
  auto take_items(uint64_t count, Take&& take) {
    std::vector<decltype(take())> out;
    out.reserve(count);
    for (uint64_t i = 0; i < count; ++i) out.push_back(take());
    return out;
  }

  GgufArray take_array(int depth) {
    if (depth > kDeepest) refuse("arrays are nested too deeply", fmt::format("{}", depth), fmt::format("{}", kDeepest));
    GgufArray out{.type = take_type()};
    auto count = take<uint64_t>();
    if (count > left() / least_bytes(out.type) || count > kMostElements - elements_) {
      refuse("array is too long", fmt::format("{} elements", count),
             fmt::format("at most {}", std::min(left() / least_bytes(out.type), kMostElements - elements_)));
    }
    elements_ += count;
    GgufType type = out.type;
    switch (type) {
      case GgufType::string: out.items = take_items(count, [&] { return std::string(take_text()); }); break;
      case GgufType::array: out.items = take_items(count, [&] { return take_array(depth + 1); }); break;
      case GgufType::f32:
      case GgufType::f64: out.items = take_items(count, [&] { return take_number(type); }); break;
      case GgufType::u64: out.items = take_items(count, [&] { return take<uint64_t>(); }); break;
      default: out.items = take_items(count, [&] { return take_integer(type); }); break;
    }
    return out;
  }

  std::string_view text_;
  std::string file_, where_;
  uint64_t at_ = 0, elements_ = 0;
};

uint32_t read_version(HeaderReader& reader) {
  std::string_view magic = reader.left() >= kMagic.size() ? reader.take_bytes(kMagic.size()) : std::string_view();
  if (magic != kMagic) reader.refuse("not a GGUF file", "other bytes at its beginning", "'GGUF'");
  auto version = reader.take<uint32_t>();
  if (version < kOldest || version > kNewest) {
    bool swapped = (version & 0xFFFF) == 0;
    reader.refuse("unsupported version of GGUF", swapped ? "a big-endian file" : fmt::format("{}", version),
                  "2 or 3, little-endian");
  }
  return version;
}

// Sizes, slowest first, and bytes of a tensor.
Record read_record(HeaderReader& reader) {
  Record record;
  auto rank = reader.take<uint32_t>();
  if (rank > Shape::kMostDims) {
    reader.refuse("too many dimensions", fmt::format("{}", rank), fmt::format("at most {}", Shape::kMostDims));
  }
  std::vector<int64_t> dims(rank);
  for (size_t i = rank; i-- > 0;) {
    auto size = reader.take<uint64_t>();
    if (size > uint64_t{INT64_MAX}) reader.refuse("size is too large", fmt::format("{}", size), "less than 2^63");
    dims[i] = static_cast<int64_t>(size);
  }
  auto type = reader.take<uint32_t>();
  record.begin = reader.take<uint64_t>();
  if (!is_readable(type)) {
    reader.refuse("unsupported type of tensor", gguf_type_text(type),
                  "F32, F16, BF16, F64, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 or an integer type");
  }
  record.type = static_cast<GgufTensorType>(type);
  record.shape = make_shape(dims);
  std::optional<int64_t> elements = element_count(dims);
  if (!elements) reader.refuse("shape is too large", record.shape.text(), "fewer than 2^60 elements");
  int64_t columns = rank > 0 ? dims[rank - 1] : 1;
  if (is_quantized(record.type) && columns % kGgufBlock != 0) {
    reader.refuse("bad shape of a quantized tensor", record.shape.text(),
                  fmt::format("rows of a multiple of {}", kGgufBlock));
  }
  record.bytes = static_cast<uint64_t>(gguf_bytes(record.type, *elements));
  return record;
}

}  // namespace

struct GgufFile::Content {
  MappedFile map;
  uint32_t version = 0;
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<std::string> names;
  std::map<std::string, size_t, std::less<>> tensors;  // into records
  std::vector<Record> records;
  std::vector<std::vector<std::byte>> copies;  // of records; empty where there is none
  uint64_t data = 0;                           // where it begins

  size_t index(std::string_view name) const {
    auto found = tensors.find(name);
    if (found == tensors.end()) {
      throw InputError({.what = "missing tensor",
                        .where = map.path().string(),
                        .expected = fmt::format("'{}'", name),
                        .hint = fmt::format("the file has {} tensors", tensors.size())});
    }
    return found->second;
  }
  const GgufValue& value(std::string_view key) const {
    auto found = metadata.find(key);
    if (found == metadata.end()) {
      throw InputError(
          {.what = "missing metadata", .where = map.path().string(), .expected = fmt::format("'{}'", key)});
    }
    return found->second;
  }
  [[noreturn]] void refuse_kind(std::string_view key, const GgufValue& value, const char* expected) const {
    throw InputError({.what = "wrong type of metadata",
                      .where = fmt::format("'{}' of {}", key, map.path().string()),
                      .got = value_type_name(value.type),
                      .expected = expected});
  }
  template <class T>
  const std::vector<T>& items(std::string_view key, const char* expected) const {
    const GgufValue& found = value(key);
    const auto* array = std::get_if<GgufArray>(&found.value);
    const auto* items = array ? std::get_if<std::vector<T>>(&array->items) : nullptr;
    if (!items) refuse_kind(key, found, expected);
    return *items;
  }
};

namespace {

template <class Content>
void read_metadata(HeaderReader& reader, uint64_t count, Content& out) {
  for (uint64_t i = 0; i < count; ++i) {
    reader.set_where(fmt::format("metadata {}", i));
    std::string key = reader.take_name("key");
    reader.set_where(fmt::format("'{}'", key));
    GgufValue value = reader.take_value();
    if (!out.metadata.emplace(std::move(key), std::move(value)).second) {
      reader.refuse("duplicate key", "a second one", "each key once");
    }
  }
}

template <class Content>
uint64_t read_alignment(HeaderReader& reader, const Content& content) {
  auto found = content.metadata.find("general.alignment");
  if (found == content.metadata.end()) return kDefaultAlignment;
  reader.set_where("'general.alignment'");
  const auto* value = std::get_if<int64_t>(&found->second.value);
  if (!value || *value <= 0 || static_cast<uint64_t>(*value) > kLargestAlignment ||
      !std::has_single_bit(static_cast<uint64_t>(*value))) {
    reader.refuse("bad alignment", value ? fmt::format("{}", *value) : value_type_name(found->second.type),
                  fmt::format("a power of two up to {}", kLargestAlignment));
  }
  return static_cast<uint64_t>(*value);
}

template <class Content>
void read_tensors(HeaderReader& reader, uint64_t count, Content& out) {
  for (uint64_t i = 0; i < count; ++i) {
    reader.set_where(fmt::format("tensor {}", i));
    std::string name = reader.take_name("name of a tensor");
    reader.set_where(fmt::format("tensor '{}'", name));
    Record record = read_record(reader);
    if (!out.tensors.emplace(name, out.records.size()).second) {
      reader.refuse("duplicate tensor", "a second one", "each name once");
    }
    out.records.push_back(record);
    out.names.push_back(std::move(name));
  }
}

// Every tensor lies within the data, at a multiple of the alignment, and shares no byte with another.
template <class Content>
void check_places(HeaderReader& reader, uint64_t alignment, const Content& content) {
  uint64_t size = content.map.bytes().size();
  uint64_t data = size > content.data ? size - content.data : 0;
  std::vector<size_t> order(content.records.size());
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
    const Record& r = content.records[i];
    reader.set_where(fmt::format("tensor '{}'", content.names[i]));
    if (r.begin % alignment != 0) {
      reader.refuse("misaligned tensor", fmt::format("offset {}", r.begin), fmt::format("a multiple of {}", alignment));
    }
    if (r.begin > data || r.bytes > data - r.begin) {
      reader.refuse("tensor lies outside of the file", fmt::format("{} bytes at {}", r.bytes, r.begin),
                    fmt::format("within its {} bytes of data", data), "was the file cut off?");
    }
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const Record &x = content.records[a], &y = content.records[b];
    return std::pair(x.begin, x.bytes) < std::pair(y.begin, y.bytes);
  });
  uint64_t end = 0;
  for (size_t i : order) {
    const Record& r = content.records[i];
    reader.set_where(fmt::format("tensor '{}'", content.names[i]));
    if (r.begin < end) {
      reader.refuse("tensors overlap", fmt::format("offset {}", r.begin), fmt::format("{} or more", end));
    }
    end = std::max(end, r.begin + r.bytes);
  }
}

}  // namespace

GgufFile GgufFile::open(const fs::path& path) {
  auto content = std::make_unique<Content>();
  content->map = MappedFile(path);
  HeaderReader reader(content->map);
  content->version = read_version(reader);
  auto tensors = reader.take<uint64_t>(), pairs = reader.take<uint64_t>();
  if (tensors > reader.left() / kShortestTensor || pairs > reader.left() / kShortestPair) {
    reader.refuse("not a GGUF file, or a truncated one", fmt::format("{} tensors and {} keys", tensors, pairs),
                  fmt::format("as many as {} bytes hold", reader.left()));
  }
  read_metadata(reader, pairs, *content);
  uint64_t alignment = read_alignment(reader, *content);
  read_tensors(reader, tensors, *content);
  content->data = (reader.at() + alignment - 1) / alignment * alignment;
  check_places(reader, alignment, *content);
  content->copies.resize(content->records.size());
  return GgufFile(std::move(content));
}

GgufFile::GgufFile(std::unique_ptr<Content> content) : content_(std::move(content)) {}
GgufFile::GgufFile(GgufFile&&) noexcept = default;
GgufFile& GgufFile::operator=(GgufFile&&) noexcept = default;
GgufFile::~GgufFile() = default;

const fs::path& GgufFile::path() const { return content_->map.path(); }
uint32_t GgufFile::version() const { return content_->version; }
const std::vector<std::string>& GgufFile::names() const { return content_->names; }
bool GgufFile::contains(std::string_view name) const { return content_->tensors.find(name) != content_->tensors.end(); }
GgufTensorType GgufFile::stored_type(std::string_view name) const {
  return content_->records[content_->index(name)].type;
}
DType GgufFile::dtype(std::string_view name) const { return gguf_read_as(stored_type(name)); }
Shape GgufFile::shape(std::string_view name) const { return content_->records[content_->index(name)].shape; }

Tensor GgufFile::tensor(std::string_view name) {
  size_t index = content_->index(name);
  const Record& record = content_->records[index];
  std::vector<std::byte>& copy = content_->copies[index];
  DType type = gguf_read_as(record.type);
  int64_t elements = record.shape.elements();
  static uint64_t nothing;  // so that a tensor without elements is defined
  if (elements == 0) return {&nothing, type, record.shape};
  if (!copy.empty()) return {copy.data(), type, record.shape};
  const std::byte* begin = content_->map.bytes().data() + content_->data + record.begin;
  bool converted = gguf_is_converted(record.type);
  if (!converted && reinterpret_cast<uintptr_t>(begin) % static_cast<uintptr_t>(dtype_bytes(type)) == 0) {
    // The map is read-only; Tensor has one pointer type for all.
    return {const_cast<std::byte*>(begin), type, record.shape};
  }
  copy.resize(static_cast<size_t>(elements * dtype_bytes(type)));
  if (converted) {
    gguf_unpack(record.type, begin, elements, copy.data());
  } else {
    std::memcpy(copy.data(), begin, copy.size());
  }
  return {copy.data(), type, record.shape};
}

void GgufFile::release() {
  for (std::vector<std::byte>& copy : content_->copies) copy = {};
}

const std::map<std::string, GgufValue, std::less<>>& GgufFile::metadata() const { return content_->metadata; }
bool GgufFile::has(std::string_view key) const { return content_->metadata.find(key) != content_->metadata.end(); }

int64_t GgufFile::integer(std::string_view key) const {
  const GgufValue& value = content_->value(key);
  const auto* wide = std::get_if<uint64_t>(&value.value);
  if (wide && *wide <= uint64_t{INT64_MAX}) return static_cast<int64_t>(*wide);
  const auto* found = std::get_if<int64_t>(&value.value);
  if (!found || value.type == GgufType::boolean) content_->refuse_kind(key, value, "an integer below 2^63");
  return *found;
}

double GgufFile::number(std::string_view key) const {
  const GgufValue& value = content_->value(key);
  if (const auto* found = std::get_if<double>(&value.value)) return *found;
  return static_cast<double>(integer(key));
}

bool GgufFile::boolean(std::string_view key) const {
  const GgufValue& value = content_->value(key);
  if (value.type != GgufType::boolean) content_->refuse_kind(key, value, "bool");
  return std::get<int64_t>(value.value) != 0;
}

const std::string& GgufFile::string(std::string_view key) const {
  const GgufValue& value = content_->value(key);
  const auto* found = std::get_if<std::string>(&value.value);
  if (!found) content_->refuse_kind(key, value, "a string");
  return *found;
}

const std::vector<std::string>& GgufFile::strings(std::string_view key) const {
  return content_->items<std::string>(key, "an array of strings");
}
const std::vector<int64_t>& GgufFile::integers(std::string_view key) const {
  return content_->items<int64_t>(key, "an array of integers");
}
const std::vector<double>& GgufFile::numbers(std::string_view key) const {
  return content_->items<double>(key, "an array of numbers");
}

}  // namespace tandem
