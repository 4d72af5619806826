// The trainable tensors of a model: master weights in float32, what the optimizer needs to know of each, and the copies
// that a pass computes with.
#pragma once

#include <deque>
#include <string>

#include "kernels/packed_weight.h"
#include "ops/tape.h"
#include "tensor/arena.h"

namespace tandem {

// How learning rates follow the width under muP (Yang et al. 2022, with the groups of the double decoder's authors).
enum class MupGroup {
  embedding,  // base learning rate, weight decay
  matrix,     // base learning rate * base_dim / dim, weight decay
  vector,     // norms, biases, gates: base learning rate, no weight decay
};

enum class Initial {
  xavier_uniform,  // uniform in +-sqrt(2) * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, gain sqrt(2))
  zeros,
  ones,
};

class Parameter {
 public:
  Parameter(std::string name, const Shape& shape, MupGroup group, Initial initial)
      : name_(std::move(name)), shape_(shape), group_(group), initial_(initial) {}

  const std::string& name() const { return name_; }
  const Shape& shape() const { return shape_; }
  MupGroup group() const { return group_; }
  bool decays() const { return group_ != MupGroup::vector; }
  Initial initial() const { return initial_; }

  const Tensor& master() const { return master_.tensor(); }  // f32
  const Tensor& grad() const { return grad_.tensor(); }      // undefined in stores without gradients
  // The copy in the type of the activations; the master itself in float32, and always for vectors.
  const Tensor& compute() const { return compute_.tensor().defined() ? compute_.tensor() : master_.tensor(); }
  bool has_own_compute() const { return compute_.tensor().defined(); }
  const kernels::PackedWeight& packed() const { return packed_; }  // undefined unless the store was packed

  // As an operand of matrix products and norms; as a table of vectors to look up.
  Weight weight() const {
    if (!packed_.defined()) return {compute(), grad(), nullptr};
    return {compute().defined() ? compute() : Tensor(nullptr, DType::f32, shape_), grad(), &packed_};
  }
  Weight table() const { return {master(), grad()}; }

 private:
  friend class ParameterStore;
  std::string name_;
  Shape shape_;
  MupGroup group_;
  Initial initial_;
  Storage master_;
  Storage compute_;
  Storage grad_;
  kernels::PackedWeight packed_;
};

class ParameterStore {
 public:
  enum class Gradients { none, wanted };

  // Registers a parameter; allocate() gives all of them their memory. The reference stays valid.
  Parameter& add(std::string name, const Shape& shape, MupGroup group, Initial initial);
  void allocate(const Precision& precision, Gradients gradients);

  // Random start. Every parameter draws from a stream of its own, named by its position, so that the numbers do not
  // depend on the order of computation.
  void initialise(uint64_t seed);

  // Rounds the masters into the compute copies. The optimizer keeps them in step afterwards.
  void refresh_compute();
  void zero_gradients();
  // For inference: matrices, and the embedding as the output projection, in the format that products read; their
  // masters (but those of embeddings, in which rows are looked up) and the copies in the type of the activations go.
  // What adopt() brought stays. Does nothing in reference precisions. LogicError in stores with gradients.
  void pack(Context& ctx, kernels::WeightFormat format);
  // Takes a matrix as it was packed; its master goes, except that of an embedding, in which rows are looked up.
  // (Reference precisions compute with the masters and keep all.)
  void adopt(Parameter& p, kernels::PackedWeight packed);
  // Whether pack() concerns the parameter: matrices and embeddings.
  static bool packs(const Parameter& p) { return p.group() != MupGroup::vector && p.shape().rank() == 2; }

  std::deque<Parameter>& all() { return parameters_; }
  const std::deque<Parameter>& all() const { return parameters_; }
  Parameter* find(std::string_view name);
  const Precision& precision() const { return precision_; }
  int64_t elements() const;

 private:
  std::deque<Parameter> parameters_;
  Precision precision_;
};

}  // namespace tandem
