#include "arch/state_format.h"

#include "arch/state_archive.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/sealed.h"

namespace tandem {
namespace {

void add_packed(Hash64& hash, const kernels::PackedWeight& packed) {
  for (int64_t i = 0; i < packed.panels(); ++i) {
    hash.add({packed.panel(i), static_cast<size_t>(packed.panel_bytes())});
    if (!packed.panel_scales(i)) continue;
    hash.add({reinterpret_cast<const char*>(packed.panel_scales(i)),
              static_cast<size_t>(kernels::kPanelOutputs) * sizeof(float)});
  }
}

// What a model computes with: masters, as far as they are still there, and packed weights.
std::string fingerprint_of(const Model& model) {
  Hash64 hash;
  ModelConfig config = model.config();
  FieldList fields;
  list_fields(fields, config);
  hash.add_sized(fields.to_json().dump());
  const ParameterStore& parameters = model.parameters();
  hash.add_sized(dtype_name(parameters.precision().activation));
  hash.add_sized(dtype_name(parameters.precision().residual));
  for (const Parameter& p : parameters.all()) {
    const Tensor& master = p.master();
    hash.add_sized(p.name());
    hash.add_sized(p.packed().defined() ? weight_format_name(p.packed().format()) : "");
    if (master.defined()) {
      hash.add_sized({static_cast<const char*>(master.data), static_cast<size_t>(master.bytes())});
    }
    if (p.packed().defined()) add_packed(hash, p.packed());
  }
  return hex64(hash.value());
}

Seal seal_of(const std::string& fingerprint) { return {"TDMSTATE", 1, fingerprint}; }

}  // namespace

StateFormat::StateFormat(const Model& model) : model_(model), fingerprint_(fingerprint_of(model)) {}

std::string StateFormat::save(State& state) const {
  std::string bytes(kSealBytes, '\0');
  put(state, bytes);
  seal(bytes, seal_of(fingerprint_));
  return bytes;
}

std::unique_ptr<State> StateFormat::load(Caches& caches, std::string_view bytes, const std::string& where) const {
  return get(caches, unseal(bytes, seal_of(fingerprint_), where), where);
}

void StateFormat::put(State& state, std::string& out) const {
  StateArchive archive(out);
  state.transfer(archive);
}

std::unique_ptr<State> StateFormat::get(Caches& caches, std::string_view bytes, const std::string& where) const {
  std::unique_ptr<State> state = model_.new_state(caches);
  bool room = load_state(*state, bytes, model_.config().vocab_size, model_.config().max_seq_len, where);
  return room ? std::move(state) : nullptr;
}

}  // namespace tandem
