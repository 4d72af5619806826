// The record of a forward pass, run backwards for the gradient.
//
// Operations are coarse (a linear layer, a norm, an attention), each with its forward and its gradient side by side in
// one file. An operation computes its value at once and leaves a closure on the tape; backward() runs the closures
// last to first. Values and closures live in the tape's arena and vanish with reset(); gradients of intermediate values
// come from a pool and return to it as soon as they have been used, so that a step holds few of them at a time. After
// the first step neither asks the system for memory.
#pragma once

#include <cstring>
#include <functional>
#include <initializer_list>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "kernels/context.h"
#include "tensor/arena.h"

namespace tandem {

// In which types a pass computes. Reference precisions run the same model on plain loops in double: `reference` is
// the yardstick for float32, `reference_bf16` rounds wherever a bf16 run rounds.
struct Precision {
  DType activation = DType::f32;  // operands of matrix products, attention
  DType residual = DType::f32;    // residual stream, norms, sums, gradients of parameters

  static constexpr Precision float32() { return {DType::f32, DType::f32}; }
  static constexpr Precision bfloat16() { return {DType::bf16, DType::f32}; }
  static constexpr Precision reference() { return {DType::f64, DType::f64}; }
  static constexpr Precision reference_bf16() { return {DType::bf16_in_f64, DType::f64}; }
  bool operator==(const Precision&) const = default;
};

// A value on the tape.
struct Node {
  Tensor value;
  Tensor grad;       // undefined until something flows back
  DType grad_dtype;  // float32 (or double) where several consumers add up
  bool needs_grad;
};
using Var = Node*;

// What recording passes do not keep of a model but compute once more on their way back (Chen et al. 2016).
enum class Recompute {
  none,
  attention,  // what is between the residual stream and attention's output in each layer
  layers,     // whole layers: one value of the residual stream stays of each
};

namespace kernels {
class PackedWeight;
}

// A trainable tensor as operations see it. Gradients are added to `grad`; undefined: not wanted. Where `packed` is
// given, passes that do not record multiply by it instead of `value`, which may then be a shape without data.
struct Weight {
  Tensor value;
  Tensor grad;
  const kernels::PackedWeight* packed = nullptr;
};

// For those who want to use the gradient of a weight as soon as it is complete. Gradients are told apart by their
// memory (Tensor::data). Which operations add to a gradient is announced while they are recorded; what an operation
// adds before the backward pass (ops/head.h) is in it already when that begins.
class GradientObserver {
 public:
  virtual ~GradientObserver() = default;
  virtual void expect(const void* gradient) = 0;  // the backward pass will add to it once more
  virtual void backward_begins() = 0;             // all has been announced
  virtual void added(const void* gradient) = 0;   // one announced addition has been made
};

class Tape {
 public:
  enum class Mode { record, no_grad };

  Tape(Context& ctx, Precision precision, Mode mode) : ctx_(ctx), precision_(precision), mode_(mode) {}
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  Context& context() { return ctx_; }
  Arena& arena() { return arena_; }
  const Precision& precision() const { return precision_; }
  bool recording() const { return mode_ == Mode::record; }
  void set_mode(Mode mode) { mode_ = mode; }
  Recompute recompute() const { return recompute_; }
  void set_recompute(Recompute what) { recompute_ = what; }

  // New values, uninitialised. An activation's gradient has the activation's type and one consumer writes it, unless
  // `shared_grad` asks for the wider type in which several consumers can add up.
  Var activation(const Shape& shape, bool shared_grad = false);
  Var residual(const Shape& shape);
  // Takes a tensor that somebody else owns as an input that needs no gradient.
  Var constant(const Tensor& value);

  // Who is told about gradients of weights, from the next forward pass on; null: nobody.
  void observe(GradientObserver* observer) { observer_ = observer; }

  // Leaves a closure void(Tape&) for the backward pass. Closures are copied into the arena byte by byte: capture
  // pointers, spans and numbers, not objects with destructors. `gradients`: those of weights that it adds to; undefined
  // ones are no matter.
  template <class F>
  void on_backward(F closure, std::initializer_list<Tensor> gradients = {}) {
    static_assert(std::is_trivially_copyable_v<F> && std::is_trivially_destructible_v<F>);
    if (!recording()) {
      if (trial_) expect(gradients);
      return;
    }
    void* place = arena_.allocate(sizeof(Record) + sizeof(F) + alignof(F));
    auto* record = new (place) Record;
    void* body =
        reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(record + 1) + alignof(F) - 1) / alignof(F) * alignof(F));
    new (body) F(closure);
    record->body = body;
    record->run = [](void* f, Tape& tape) { (*static_cast<F*>(f))(tape); };
    record->previous = last_;
    last_ = record;
    if (observer_) announce(*record, gradients);
  }

  // The value of body(tape), a Var(Tape&) that is copied like a closure. Where sections of this kind are recomputed
  // nothing but that value is kept, and body runs again in the backward pass: to the same bits, since it computes the
  // same. Everything that it uses must live as long as what closures use.
  template <class F>
  Var section(Recompute kind, F body) {
    if (!recording() || recompute_ != kind) return body(*this);
    const Arena::Mark mark = arena_.mark();
    mode_ = Mode::no_grad;
    trial_ = observer_ != nullptr;
    Var result = body(*this);
    trial_ = false;
    mode_ = Mode::record;
    Var out = keep_only(result, mark);
    on_backward([out, body](Tape& t) {
      if (!out->grad.defined()) return;
      Replay replay(t);
      replay.run(body(t), out);
    });
    return out;
  }

  // Runs the closures. Gradients must have been seeded (a loss operation does that).
  void backward();
  // The same with a call of `after_each` behind every closure: to find out where something went wrong.
  void backward(const std::function<void()>& after_each);

  // Where the gradient of `v` goes: the tensor, and whether it already holds something to add to. For use inside
  // closures of v's consumers.
  struct GradientSlot {
    Tensor tensor;
    bool accumulate;
  };
  GradientSlot gradient_slot(Var v);
  // The same for a consumer that overwrites some columns of v's gradient and leaves the others alone. Every column must
  // have exactly one consumer.
  Tensor column_gradient(Var v);
  // Hands the buffer of a finished gradient to another value of the same shape and type, or adds it there. `from` has
  // no gradient afterwards. Where `to` needs none it is dropped.
  void move_gradient(Var to, Var from);
  // Returns v's gradient to the pool; called by the closure of the operation that produced v, when it is done with it.
  void drop_gradient(Var v);
  // Scratch of the backward pass.
  Tensor take_scratch(DType dtype, const Shape& shape) { return pool_.take(dtype, shape); }
  void give_back_scratch(const Tensor& t) { pool_.give_back(t); }
  // x itself when it has type `dtype`, else a converted copy from the pool (`owned`: give it back).
  struct Converted {
    Tensor tensor;
    bool owned;
  };
  Converted converted(const Tensor& x, DType dtype);
  void give_back(const Converted& c) {
    if (c.owned) pool_.give_back(c.tensor);
  }

  // Forgets everything recorded, and gradients that were never used; keeps the memory.
  void reset();

  size_t reserved_bytes() const { return arena_.reserved_bytes() + pool_.reserved_bytes(); }
  size_t pool_bytes() const { return pool_.reserved_bytes(); }  // gradients and scratch of the backward pass
  int64_t system_allocations() const { return arena_.system_allocations() + pool_.system_allocations(); }

 private:
  struct Record {
    void (*run)(void*, Tape&);
    void* body;
    Record* previous;
    std::span<const void* const> gradients;  // that it adds to; empty when nobody wants to know
  };

  // A record of its own within the backward pass, gone with its end.
  class Replay {
   public:
    explicit Replay(Tape& tape) : tape_(tape), mark_(tape.arena_.mark()), outer_(std::exchange(tape.last_, nullptr)) {
      tape_.replaying_ = true;
    }
    Replay(const Replay&) = delete;
    Replay& operator=(const Replay&) = delete;
    ~Replay() {
      tape_.replaying_ = false;
      tape_.last_ = outer_;
      tape_.arena_.release(mark_);
    }
    // Sends the gradient of `out` back through `again`, which holds the same.
    void run(Var again, Var out);

   private:
    Tape& tape_;
    Arena::Mark mark_;
    Record* outer_;
  };

  void expect(std::initializer_list<Tensor> gradients);
  void announce(Record& record, std::initializer_list<Tensor> gradients);
  Var node(const Tensor& value, DType grad_dtype, bool needs_grad);
  // Forgets what was allocated since the mark, except the value of `result`.
  Var keep_only(Var result, const Arena::Mark& mark);
  void run_closures();

  Context& ctx_;
  Precision precision_;
  Mode mode_;
  Recompute recompute_ = Recompute::none;
  const std::function<void()>* after_each_ = nullptr;  // during backward()
  Arena arena_;
  BlockPool pool_;
  Record* last_ = nullptr;
  GradientObserver* observer_ = nullptr;
  bool trial_ = false;      // what runs will run again and add to gradients then
  bool replaying_ = false;  // what runs was announced before
};

// LogicError unless t has this shape; names the operation and the operand.
void check_shape(const char* op, const char* operand, const Tensor& t, const Shape& expected);

}  // namespace tandem
