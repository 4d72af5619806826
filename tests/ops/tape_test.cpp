#include "ops/tape.h"

#include "base/error.h"
#include "ops/fork.h"
#include "ops/gelu.h"
#include "ops/linear.h"
#include "ops/op_check.h"
#include "ops/rmsnorm.h"

namespace tandem::test {
namespace {

TEST(Tape, RunsClosuresLastToFirstAndOnce) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::record);
  std::vector<int> order;
  for (int i = 0; i < 3; ++i) tape.on_backward([&order, i](Tape&) { order.push_back(i); });
  tape.backward();
  EXPECT_EQ(order, (std::vector<int>{2, 1, 0}));
  tape.backward();
  EXPECT_EQ(order.size(), 3u);
}

TEST(Tape, WithoutGradientNothingIsRecorded) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::no_grad);
  bool ran = false;
  tape.on_backward([&ran](Tape&) { ran = true; });
  tape.backward();
  EXPECT_FALSE(ran);
}

TEST(Tape, ResetForgetsClosures) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::record);
  bool ran = false;
  tape.on_backward([&ran](Tape&) { ran = true; });
  tape.reset();
  tape.backward();
  EXPECT_FALSE(ran);
}

// Writes down what it is told.
class Listener final : public GradientObserver {
 public:
  explicit Listener(std::vector<std::string>& heard) : heard_(heard) {}
  void expect(const void* gradient) override { say("expect", gradient); }
  void backward_begins() override { heard_.push_back("begins"); }
  void added(const void* gradient) override { say("added", gradient); }

 private:
  void say(const char* what, const void* gradient) {
    heard_.push_back(fmt::format("{} {}", what, *static_cast<const float*>(gradient)));
  }
  std::vector<std::string>& heard_;
};

TEST(Tape, AnObserverHearsWhichGradientsAreAddedTo) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::record);
  std::vector<std::string> heard;
  Listener listener(heard);
  float one = 1, two = 2;
  Tensor first(&one, DType::f32, {1}), second(&two, DType::f32, {1});
  tape.on_backward([](Tape&) {}, {first});  // nobody listens yet
  tape.observe(&listener);
  tape.on_backward([](Tape&) {}, {first, Tensor(), second});
  tape.on_backward([](Tape&) {});
  tape.on_backward([&heard](Tape&) { heard.push_back("runs"); }, {first});
  tape.backward();
  EXPECT_EQ(heard, (std::vector<std::string>{"expect 1", "expect 2", "expect 1", "begins", "runs", "added 1", "added 1",
                                             "added 2"}));
}

TEST(Tape, TypesOfValuesAndGradientsFollowThePrecision) {
  Context ctx(1);
  Tape tape(ctx, Precision::bfloat16(), Tape::Mode::record);
  Var narrow = tape.activation({2, 2}), shared = tape.activation({2, 2}, true), wide = tape.residual({2, 2});
  EXPECT_EQ(narrow->value.dtype, DType::bf16);
  EXPECT_EQ(narrow->grad_dtype, DType::bf16);
  EXPECT_EQ(shared->value.dtype, DType::bf16);
  EXPECT_EQ(shared->grad_dtype, DType::f32);
  EXPECT_EQ(wide->value.dtype, DType::f32);
  EXPECT_EQ(wide->grad_dtype, DType::f32);
}

TEST(Tape, SecondGradientAccumulatesOnlyInTheWideType) {
  Context ctx(1);
  Tape tape(ctx, Precision::bfloat16(), Tape::Mode::record);
  Var shared = tape.activation({2, 2}, true), narrow = tape.activation({2, 2});
  EXPECT_FALSE(tape.gradient_slot(shared).accumulate);
  EXPECT_TRUE(tape.gradient_slot(shared).accumulate);
  EXPECT_FALSE(tape.gradient_slot(narrow).accumulate);
  EXPECT_THROW(tape.gradient_slot(narrow), LogicError);
  tape.drop_gradient(shared);
  EXPECT_FALSE(tape.gradient_slot(shared).accumulate);
}

TEST(Tape, MoveGradientHandsOverConvertsOrAdds) {
  Context ctx(1);
  Tape tape(ctx, Precision::bfloat16(), Tape::Mode::record);
  Var to = tape.activation({1, 2}, true), narrow = tape.activation({1, 2}), wide = tape.residual({1, 2});
  set_elements(tape.gradient_slot(narrow).tensor, {1, 2});
  tape.move_gradient(to, narrow);
  EXPECT_FALSE(narrow->grad.defined());
  EXPECT_EQ(to->grad.dtype, DType::f32);
  EXPECT_EQ(elements_of(to->grad), (std::vector<double>{1, 2}));
  set_elements(tape.gradient_slot(wide).tensor, {10, 20});
  tape.move_gradient(to, wide);
  EXPECT_EQ(elements_of(to->grad), (std::vector<double>{11, 22}));
  Var other = tape.residual({1, 2});
  void* buffer = to->grad.data;
  tape.move_gradient(other, to);
  EXPECT_EQ(other->grad.data, buffer);
  EXPECT_FALSE(to->grad.defined());
}

// What a value that needs no gradient is sent goes back to the pool.
TEST(Tape, ConstantsTakeNoGradient) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::record);
  Storage x(DType::f32, {2, 4}), w(DType::f32, {4, 4});
  for (int pass = 0; pass < 3; ++pass) {
    tape.reset();
    Var constant = tape.constant(x.tensor());
    Var y = ops::linear_residual(tape, constant, constant, {w.tensor(), {}});
    set_elements(tape.gradient_slot(y).tensor, std::vector<double>(8, 1.0));
    tape.backward();
    EXPECT_FALSE(constant->grad.defined());
  }
  EXPECT_LE(tape.system_allocations(), 2);  // the arena's first chunk and one gradient
}

TEST(Tape, ConvertedCopiesOnlyWhereTypesDiffer) {
  Context ctx(1);
  Tape tape(ctx, Precision::bfloat16(), Tape::Mode::record);
  Var wide = tape.residual({1, 2});
  set_elements(wide->value, {1.5, -2});
  Tape::Converted same = tape.converted(wide->value, DType::f32), other = tape.converted(wide->value, DType::bf16);
  EXPECT_FALSE(same.owned);
  EXPECT_EQ(same.tensor.data, wide->value.data);
  EXPECT_TRUE(other.owned);
  EXPECT_EQ(elements_of(other.tensor), (std::vector<double>{1.5, -2}));
  tape.give_back(same);
  tape.give_back(other);
}

Var small_network(Tape& tape, const Tensor& input, const Weight& norm, const Weight& up, const Weight& down) {
  Var x = tape.residual(input.shape);
  copy_convert(x->value, input);
  for (int layer = 0; layer < 4; ++layer) {
    Var normed = ops::rmsnorm(tape, x, norm, 1e-5);
    Var hidden = ops::gelu(tape, ops::linear(tape, normed, up), ops::GeluKind::tanh);
    x = ops::linear_residual(tape, x, hidden, down);
  }
  return x;
}

// The promise of the header: after the first step nothing is asked of the system.
TEST(Tape, StepsAfterTheFirstAllocateNothing) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::record);
  Storage x(DType::f32, {32, 64}), norm(DType::f32, {64}), up(DType::f32, {256, 64}), down(DType::f32, {64, 256});
  Storage d_norm(DType::f32, {64}), d_up(DType::f32, {256, 64}), d_down(DType::f32, {64, 256});
  int64_t after_first = 0;
  for (int step = 0; step < 4; ++step) {
    tape.reset();
    Var y = small_network(tape, x.tensor(), {norm.tensor(), d_norm.tensor()}, {up.tensor(), d_up.tensor()},
                          {down.tensor(), d_down.tensor()});
    set_elements(tape.gradient_slot(y).tensor, std::vector<double>(32 * 64, 1.0));
    tape.backward();
    if (step == 0) after_first = tape.system_allocations();
  }
  EXPECT_EQ(tape.system_allocations(), after_first);
}

// A pass that is given up (an error, an evaluation in between) must not cost memory for ever.
TEST(Tape, ResetTakesBackGradientsThatWereNeverUsed) {
  Context ctx(1);
  Tape tape(ctx, Precision::float32(), Tape::Mode::record);
  for (int step = 0; step < 3; ++step) {
    tape.reset();
    tape.gradient_slot(tape.residual({4, 4}));
  }
  EXPECT_LE(tape.system_allocations(), 2);
}

}  // namespace
}  // namespace tandem::test
