// States of a model on disk: a seal (base/sealed.h) with the model's fingerprint, then what State::transfer() writes.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "arch/model.h"

namespace tandem {

class StateFormat {
 public:
  // Goes over the model's weights, which must not change while this object is used.
  explicit StateFormat(const Model& model);

  // 16 characters: of the config, the weights, the types that it computes in and the format of packed weights. States
  // of models with different fingerprints are of no use to each other.
  const std::string& fingerprint() const { return fingerprint_; }

  // A state in the form that it has, and back: it goes on with the same bits.
  std::string save(State& state) const;
  // InputError for bytes that are no state of this model; `where` names them. Null when the caches have too few free
  // pages. What the caches keep and drop is decided by their own options.
  std::unique_ptr<State> load(Caches& caches, std::string_view bytes, const std::string& where) const;

  // The same without a seal, for a part of something else that has one: put() appends.
  void put(State& state, std::string& out) const;
  std::unique_ptr<State> get(Caches& caches, std::string_view bytes, const std::string& where) const;

 private:
  const Model& model_;
  std::string fingerprint_;
};

}  // namespace tandem
