// Python's pickles (protocols 2 to 5: https://github.com/python/cpython/blob/main/Lib/pickletools.py lists the opcodes)
// as trees of plain values. A pickle is a program for a stack machine that may import and call anything; this machine
// imports nothing. A global must be on a list that the caller gives and is a name afterwards, and a call of one is a
// value that the caller may interpret.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tandem {

enum class PickleKind : uint8_t {
  none,
  boolean,
  integer,
  large,  // an integer from 2^63 to 2^64 - 1, such as a seed
  real,
  text,
  list,
  tuple,
  dictionary,  // items: key, value, key, value ...
  global,      // text: "module name"
  call,        // items: the global and its arguments as a tuple
  persistent,  // items: the identifier, for what lies outside of the pickle
};

class Pickle;

// A value of a Pickle, valid while that is.
class PickleValue {
 public:
  PickleKind kind() const;
  bool is(PickleKind wanted) const { return kind() == wanted; }
  bool boolean() const;     // of a boolean
  int64_t integer() const;  // of an integer
  uint64_t large() const;
  double real() const;            // of a real
  std::string_view text() const;  // of a text or a global
  size_t size() const;            // number of items
  PickleValue item(size_t i) const;
  // A call of this global?
  bool calls(std::string_view global) const;
  // "a list of 3 items", for messages.
  std::string describe() const;

 private:
  friend class Pickle;
  PickleValue(const Pickle& pickle, uint32_t index) : pickle_(&pickle), index_(index) {}

  const Pickle* pickle_;
  uint32_t index_;
};

enum class PickleRole : uint8_t {
  dictionary,  // calling it makes a dictionary: collections.OrderedDict
  function,    // may be called: the call is a value
  name,        // only mentioned, such as a type
};

struct PickleGlobal {
  std::string_view name;  // "collections OrderedDict", as the pickle says it
  PickleRole role;
};

class Pickle {
 public:
  static constexpr size_t kMostBytes = size_t{32} << 20;
  static constexpr size_t kMostValues = size_t{2} << 20;  // and depth of the stack, and entries of the memo

  // Runs the pickle to its STOP. Texts are views into `bytes`, and names of globals into `globals`: both must live as
  // long as the result. InputError with `where`, naming a global that is not in `globals`, when the pickle is
  // malformed, cut off, or wants what the machine does not do. The limits keep a hostile one below 300 MB.
  Pickle(std::string_view bytes, const std::vector<PickleGlobal>& globals, const std::string& where);

  PickleValue root() const { return {*this, root_}; }

 private:
  friend class PickleValue;
  friend class PickleMachine;
  struct Value {
    PickleKind kind = PickleKind::none;
    PickleRole role = PickleRole::name;                     // of a global
    std::variant<int64_t, double, std::string_view> plain;  // of containers the number in items_
  };

  std::vector<Value> values_;
  std::vector<std::vector<uint32_t>> items_;
  uint32_t root_ = 0;
};

}  // namespace tandem
