#include "formats/pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace tandem {
namespace {

// The opcodes that the machine knows.
enum Op : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kFloat = 'G',
  kInt4 = 'J',
  kInt1 = 'K',
  kInt2 = 'M',
  kNone = 'N',
  kPersistent = 'Q',
  kReduce = 'R',
  kString4 = 'T',
  kString1 = 'U',
  kUnicode4 = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kAppends = 'e',
  kGet1 = 'h',
  kGet4 = 'j',
  kPut1 = 'q',
  kPut4 = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyTuple = ')',
  kEmptyList = ']',
  kEmptyDict = '}',
  kProtocol = 0x80,
  kNewObject = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kTrue = 0x88,
  kFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kUnicode1 = 0x8c,
  kUnicode8 = 0x8d,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

constexpr int kNewestProtocol = 5;
constexpr uint32_t kNothing = UINT32_MAX;

}  // namespace

class PickleMachine {
 public:
  PickleMachine(Pickle& out, std::string_view bytes, const std::vector<PickleGlobal>& globals, const std::string& where)
      : out_(out), bytes_(bytes), globals_(globals), where_(where) {}

  void run() {
    if (bytes_.size() > Pickle::kMostBytes) {
      refuse(fmt::format("{} bytes", bytes_.size()), fmt::format("at most {}", Pickle::kMostBytes));
    }
    for (;;) {
      auto op = take<uint8_t>();
      if (op == kStop) break;
      step(op);
      if (out_.values_.size() > Pickle::kMostValues || stack_.size() > Pickle::kMostValues) {
        refuse("ever more values", fmt::format("at most {}", Pickle::kMostValues));
      }
    }
    if (stack_.size() != 1 || !marks_.empty()) refuse(fmt::format("{} values at its end", stack_.size()), "one");
    out_.root_ = stack_.back();
  }

 private:
  using Kind = PickleKind;
  using Value = Pickle::Value;

  [[noreturn]] void refuse(std::string got, std::string expected, std::string hint = {}) const {
    throw InputError({.what = "bad pickle",
                      .where = fmt::format("{}, byte {}", where_, at_),
                      .got = std::move(got),
                      .expected = std::move(expected),
                      .hint = std::move(hint)});
  }

  std::string_view take_bytes(uint64_t count) {
    if (count > bytes_.size() - at_) refuse("its end", fmt::format("{} more bytes", count - (bytes_.size() - at_)));
    std::string_view out = bytes_.substr(at_, count);
    at_ += count;
    return out;
  }
  template <class T>
  T take() {
    T out;
    std::memcpy(&out, take_bytes(sizeof out).data(), sizeof out);
    return out;
  }
  std::string_view take_line() {
    size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) refuse("its end", "the end of a line");
    std::string_view line = take_bytes(end - at_);
    at_ += 1;
    return line;
  }

  void push(Value value) {
    out_.values_.push_back(value);
    stack_.push_back(static_cast<uint32_t>(out_.values_.size() - 1));
  }
  void push_integer(int64_t value) { push({Kind::integer, {}, value}); }
  void push_text(std::string_view text) { push({Kind::text, {}, text}); }
  void push_container(Kind kind, std::vector<uint32_t> items) {
    out_.items_.push_back(std::move(items));
    push({kind, {}, static_cast<int64_t>(out_.items_.size() - 1)});
  }
  // Above the newest mark.
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  uint32_t pop() {
    if (stack_.size() <= floor()) refuse("an empty stack", "a value on it");
    uint32_t top = stack_.back();
    stack_.pop_back();
    return top;
  }
  uint32_t top() const {
    if (stack_.size() <= floor()) refuse("an empty stack", "a value on it");
    return stack_.back();
  }
  std::vector<uint32_t> pop_to_mark() {
    if (marks_.empty()) refuse("no mark", "a mark on the stack");
    auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<uint32_t> out(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return out;
  }
  std::vector<uint32_t> pop_several(size_t count) {
    std::vector<uint32_t> out(count);
    for (size_t i = count; i-- > 0;) out[i] = pop();
    return out;
  }

  Value& value(uint32_t index) { return out_.values_[index]; }
  std::vector<uint32_t>& items(uint32_t index) {
    return out_.items_[static_cast<size_t>(std::get<int64_t>(value(index).plain))];
  }

  // Adds to the container on the top of the stack.
  void add(Kind kind, const std::vector<uint32_t>& more) {
    uint32_t to = top();
    if (value(to).kind != kind || (kind == Kind::dictionary && more.size() % 2 != 0)) {
      refuse("items for what takes none", kind == Kind::list ? "a list" : "a dictionary and pairs");
    }
    items(to).insert(items(to).end(), more.begin(), more.end());
  }

  void push_global(std::string_view name) {
    auto known = std::find_if(globals_.begin(), globals_.end(), [&](const PickleGlobal& g) { return g.name == name; });
    if (known == globals_.end()) {
      std::string dotted(name);
      std::replace(dotted.begin(), dotted.end(), ' ', '.');
      refuse(fmt::format("the global '{}'", dotted), "only tensors, dictionaries, lists and plain values",
             "nothing in a file is ever executed; save a state dict: torch.save(model.state_dict(), FILE)");
    }
    push({Kind::global, known->role, known->name});
  }

  void push_stack_global() {
    uint32_t name = pop(), module = pop();
    if (value(name).kind != Kind::text || value(module).kind != Kind::text) refuse("a global without a name", "texts");
    std::string full(std::get<std::string_view>(value(module).plain));
    full += ' ';
    full += std::get<std::string_view>(value(name).plain);
    push_global(full);
  }

  // OrderedDict(), OrderedDict({...}) or OrderedDict([(key, value), ...]).
  void push_dictionary(uint32_t arguments) {
    std::vector<uint32_t> pairs;
    size_t count = items(arguments).size();
    if (count > 1) refuse(fmt::format("a dictionary of {} arguments", count), "at most one");
    if (count == 1) {
      uint32_t from = items(arguments)[0];
      if (value(from).kind == Kind::dictionary) {
        pairs = items(from);
      } else if (value(from).kind == Kind::list) {
        for (uint32_t pair : items(from)) {
          bool pairing = value(pair).kind == Kind::list || value(pair).kind == Kind::tuple;
          if (!pairing || items(pair).size() != 2) refuse("a dictionary of other items", "pairs");
          pairs.insert(pairs.end(), items(pair).begin(), items(pair).end());
        }
      } else {
        refuse("a dictionary of a value", "pairs");
      }
      copied_ += pairs.size();
      if (copied_ > Pickle::kMostValues) refuse("ever more items", fmt::format("at most {}", Pickle::kMostValues));
    }
    push_container(Kind::dictionary, std::move(pairs));
  }

  void reduce() {
    uint32_t arguments = pop(), callee = pop();
    if (value(arguments).kind != Kind::tuple) refuse("a call without a tuple of arguments", "a tuple");
    if (value(callee).kind != Kind::global || value(callee).role == PickleRole::name) {
      refuse("a call of what is no function", "one of the functions that make tensors");
    }
    if (value(callee).role == PickleRole::dictionary) return push_dictionary(arguments);
    push_container(Kind::call, {callee, arguments});
  }

  // Attributes: torch.nn.Module's state dicts carry `_metadata`, versions of the modules. Nothing reads them.
  void build() {
    pop();
    Kind kind = value(top()).kind;
    if (kind != Kind::dictionary && kind != Kind::call) refuse("attributes for a plain value", "an object");
  }

  void put(uint64_t slot) {
    if (slot >= Pickle::kMostValues) {
      refuse(fmt::format("memo {}", slot), fmt::format("one below {}", Pickle::kMostValues));
    }
    uint32_t index = top();
    if (slot >= memo_.size()) memo_.resize(slot + 1, kNothing);
    memo_[slot] = index;
    ++memoized_;
  }
  void get(uint64_t slot) {
    if (slot >= memo_.size() || memo_[slot] == kNothing) refuse(fmt::format("memo {}", slot), "one that was filled");
    stack_.push_back(memo_[slot]);
  }

  // Little-endian two's complement of any length; what 64 bits hold.
  void push_long(uint64_t length) {
    std::string_view bytes = take_bytes(length);
    bool above = length == 9 && bytes[8] == 0;
    if (length > 8 && !above) refuse(fmt::format("an integer of {} bytes", length), "at most 8");
    uint64_t bits = 0;
    for (size_t i = std::min<size_t>(length, 8); i-- > 0;) bits = bits << 8 | static_cast<uint8_t>(bytes[i]);
    if (above) return push({Kind::large, {}, static_cast<int64_t>(bits)});
    if (length > 0 && length < 8 && (bits >> (8 * length - 1)) != 0) bits |= ~uint64_t{0} << (8 * length);
    push_integer(static_cast<int64_t>(bits));
  }

  void push_float() {
    uint64_t bits = 0;
    for (char c : take_bytes(8)) bits = bits << 8 | static_cast<uint8_t>(c);
    push({Kind::real, {}, std::bit_cast<double>(bits)});
  }

  void check_protocol() {
    int protocol = take<uint8_t>();
    if (protocol > kNewestProtocol) refuse(fmt::format("protocol {}", protocol), "2 to 5");
  }

  void step(uint8_t op) {
    if (!plain_value(op) && !container(op) && !machinery(op)) {
      refuse(fmt::format("opcode 0x{:02x}", op), "those of tensors, dictionaries, lists and plain values");
    }
  }

  bool plain_value(uint8_t op) {
    switch (op) {
      case kNone: push({Kind::none, {}, int64_t{0}}); return true;
      case kTrue: push({Kind::boolean, {}, int64_t{1}}); return true;
      case kFalse: push({Kind::boolean, {}, int64_t{0}}); return true;
      case kInt1: push_integer(take<uint8_t>()); return true;
      case kInt2: push_integer(take<uint16_t>()); return true;
      case kInt4: push_integer(take<int32_t>()); return true;
      case kLong1: push_long(take<uint8_t>()); return true;
      case kLong4: push_long(take<uint32_t>()); return true;
      case kFloat: push_float(); return true;
      case kUnicode1:
      case kString1: push_text(take_bytes(take<uint8_t>())); return true;
      case kUnicode4:
      case kString4: push_text(take_bytes(take<uint32_t>())); return true;
      case kUnicode8: push_text(take_bytes(take<uint64_t>())); return true;
      default: return false;
    }
  }

  bool container(uint8_t op) {
    switch (op) {
      case kEmptyTuple: push_container(Kind::tuple, {}); return true;
      case kEmptyList: push_container(Kind::list, {}); return true;
      case kEmptyDict: push_container(Kind::dictionary, {}); return true;
      case kTuple1: push_container(Kind::tuple, pop_several(1)); return true;
      case kTuple2: push_container(Kind::tuple, pop_several(2)); return true;
      case kTuple3: push_container(Kind::tuple, pop_several(3)); return true;
      case kTuple: push_container(Kind::tuple, pop_to_mark()); return true;
      case kAppend: add(Kind::list, pop_several(1)); return true;
      case kAppends: add(Kind::list, pop_to_mark()); return true;
      case kSetItem: add(Kind::dictionary, pop_several(2)); return true;
      case kSetItems: add(Kind::dictionary, pop_to_mark()); return true;
      default: return false;
    }
  }

  bool machinery(uint8_t op) {
    switch (op) {
      case kProtocol: check_protocol(); return true;
      case kFrame: take_bytes(8); return true;  // how much to read ahead
      case kMark: push_mark(); return true;
      case kPop: pop(); return true;
      case kPopMark: pop_to_mark(); return true;
      case kDup: stack_.push_back(top()); return true;
      case kPut1: put(take<uint8_t>()); return true;
      case kPut4: put(take<uint32_t>()); return true;
      case kMemoize: put(memoized_); return true;
      case kGet1: get(take<uint8_t>()); return true;
      case kGet4: get(take<uint32_t>()); return true;
      case kGlobal: push_line_global(); return true;
      case kStackGlobal: push_stack_global(); return true;
      case kReduce:
      case kNewObject: reduce(); return true;
      case kBuild: build(); return true;
      case kPersistent: push_container(Kind::persistent, {pop()}); return true;
      default: return false;
    }
  }

  void push_mark() {
    if (marks_.size() >= Pickle::kMostValues) refuse("ever more marks", fmt::format("{}", Pickle::kMostValues));
    marks_.push_back(stack_.size());
  }

  void push_line_global() {
    std::string name(take_line());
    name += ' ';
    name += take_line();
    push_global(name);
  }

  Pickle& out_;
  std::string_view bytes_;
  const std::vector<PickleGlobal>& globals_;
  const std::string& where_;
  size_t at_ = 0;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;   // the stack's sizes
  std::vector<uint32_t> memo_;  // by slot; kNothing where none was put
  uint64_t memoized_ = 0;
  size_t copied_ = 0;  // items of dictionaries made of others, which one byte can repeat
};

Pickle::Pickle(std::string_view bytes, const std::vector<PickleGlobal>& globals, const std::string& where) {
  PickleMachine(*this, bytes, globals, where).run();
}

PickleKind PickleValue::kind() const { return pickle_->values_[index_].kind; }
bool PickleValue::boolean() const { return integer() != 0; }
int64_t PickleValue::integer() const { return std::get<int64_t>(pickle_->values_[index_].plain); }
uint64_t PickleValue::large() const { return static_cast<uint64_t>(integer()); }
double PickleValue::real() const { return std::get<double>(pickle_->values_[index_].plain); }
std::string_view PickleValue::text() const { return std::get<std::string_view>(pickle_->values_[index_].plain); }

size_t PickleValue::size() const { return pickle_->items_[static_cast<size_t>(integer())].size(); }
PickleValue PickleValue::item(size_t i) const { return {*pickle_, pickle_->items_[static_cast<size_t>(integer())][i]}; }

bool PickleValue::calls(std::string_view global) const { return is(PickleKind::call) && item(0).text() == global; }

std::string PickleValue::describe() const {
  switch (kind()) {
    case PickleKind::none: return "None";
    case PickleKind::boolean: return boolean() ? "True" : "False";
    case PickleKind::integer: return fmt::format("{}", integer());
    case PickleKind::large: return std::to_string(large());
    case PickleKind::real: return fmt::format("{}", real());
    case PickleKind::text: return fmt::format("'{}'", text().substr(0, 80));
    case PickleKind::list: return fmt::format("a list of {} items", size());
    case PickleKind::tuple: return fmt::format("a tuple of {} items", size());
    case PickleKind::dictionary: return fmt::format("a dictionary of {} items", size() / 2);
    case PickleKind::global: return std::string(text());
    case PickleKind::call: return fmt::format("a call of {}", item(0).text());
    case PickleKind::persistent: return "a storage";
  }
  return "?";
}

}  // namespace tandem
