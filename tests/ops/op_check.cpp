#include "ops/op_check.h"

#include <cmath>
#include <limits>
#include <ostream>

#include "base/rng.h"

namespace tandem::test {
namespace {

using Values = std::vector<std::vector<double>>;  // one list of elements per operand

constexpr double kUnitRoundoff = 0x1p-24;     // of float32
constexpr double kBf16UnitRoundoff = 0x1p-9;  // of bfloat16
constexpr double kDoubleRoundoff = 0x1p-53;   // of double
constexpr double kStep = 0x1p-10;             // of the finite differences

std::vector<double> random_values(size_t count, double low, double high, Rng& rng) {
  std::vector<double> values(count);
  // Representable in float32, so that every precision starts from the same numbers.
  for (double& v : values) v = static_cast<float>(low + (high - low) * rng.uniform());
  return values;
}

Values random_operands(const std::vector<Operand>& operands, uint64_t stream) {
  Values values;
  Rng rng(7, stream);
  for (const Operand& o : operands) {
    values.push_back(random_values(static_cast<size_t>(o.shape.elements()), o.low, o.high, rng));
  }
  return values;
}

bool held_narrow(Role role) {
  return role == Role::activation || role == Role::shared_activation || role == Role::matrix;
}

// What a bf16 run is given: operands that it can hold without an error.
void round_operands(const std::vector<Operand>& operands, Values& values) {
  for (size_t i = 0; i < operands.size(); ++i) {
    if (!held_narrow(operands[i].role)) continue;
    for (double& v : values[i]) v = round_to_bf16(v);
  }
}

struct Outcome {
  double value = 0;      // the scalar whose gradient is taken: op's own scalar + sum of seeds * outputs
  double magnitude = 0;  // sum of |seeds * outputs| + |scalar|
  Values outputs;
  Values input_gradients;
  Values weight_gradients;
};

struct Setup {
  Precision precision;
  int applications = 1;     // how often the operation is applied to the same inputs
  int passes = 1;           // forward and backward passes without clearing the weights' gradients
  bool bf16_seeds = false;  // the functional's weights, which are gradients of the outputs, can be held in bfloat16
};

Var make_input(Tape& tape, const Operand& operand, const std::vector<double>& values) {
  Var v = operand.role == Role::residual ? tape.residual(operand.shape)
                                         : tape.activation(operand.shape, operand.role == Role::shared_activation);
  set_elements(v->value, values);
  return v;
}

class Runner {
 public:
  Runner(Context& ctx, const OpCase& op, const Setup& setup)
      : op_(op), setup_(setup), tape_(ctx, setup.precision, Tape::Mode::record) {
    for (const Operand& w : op.weights) {
      DType held = held_narrow(w.role) ? setup.precision.activation : setup.precision.residual;
      values_.emplace_back(held, w.shape);
      gradients_.emplace_back(setup.precision.residual, w.shape);
    }
  }

  // Value only.
  Outcome forward(const Values& inputs, const Values& weights) {
    tape_.set_mode(Tape::Mode::no_grad);
    return pass(inputs, weights);
  }

  Outcome gradients(const Values& inputs, const Values& weights) {
    tape_.set_mode(Tape::Mode::record);
    for (Storage& g : gradients_) set_elements(g.tensor(), std::vector<double>(elements(g), 0.0));
    Outcome run;
    for (int i = 0; i < setup_.passes; ++i) run = pass(inputs, weights);
    for (Storage& g : gradients_) run.weight_gradients.push_back(elements_of(g.tensor()));
    return run;
  }

 private:
  static size_t elements(const Storage& s) { return static_cast<size_t>(s.tensor().elements()); }

  Outcome pass(const Values& inputs, const Values& weights) {
    tape_.reset();
    std::vector<Var> vars;
    for (size_t i = 0; i < inputs.size(); ++i) vars.push_back(make_input(tape_, op_.inputs[i], inputs[i]));
    std::vector<Weight> operands;
    for (size_t i = 0; i < weights.size(); ++i) {
      set_elements(values_[i].tensor(), weights[i]);
      operands.push_back({values_[i].tensor(), tape_.recording() ? gradients_[i].tensor() : Tensor()});
    }
    Outcome run;
    std::vector<Var> outputs;
    for (int a = 0; a < setup_.applications; ++a) {
      OpResult result = op_.apply(tape_, vars, operands);
      run.value += result.scalar;
      run.magnitude += std::abs(result.scalar);
      outputs.insert(outputs.end(), result.outputs.begin(), result.outputs.end());
    }
    add_functional(run, outputs);
    if (!tape_.recording()) return run;
    tape_.backward();
    for (Var v : vars) {
      run.input_gradients.push_back(elements_of(v->grad));
      tape_.drop_gradient(v);
    }
    return run;
  }

  // A random linear functional of the outputs, the same for every run and every application.
  void add_functional(Outcome& run, const std::vector<Var>& outputs) {
    size_t per_application = outputs.size() / static_cast<size_t>(setup_.applications);
    for (size_t i = 0; i < outputs.size(); ++i) {
      Rng rng(11, i % per_application);
      std::vector<double> y = elements_of(outputs[i]->value), seeds = random_values(y.size(), -1, 1, rng);
      for (size_t k = 0; k < y.size(); ++k) {
        if (setup_.bf16_seeds) seeds[k] = round_to_bf16(seeds[k]);
        if (!std::isfinite(y[k])) {  // the log-sum-exp of no keys at all does not vary
          seeds[k] = 0;
          continue;
        }
        run.value += seeds[k] * y[k];
        run.magnitude += std::abs(seeds[k] * y[k]);
      }
      if (tape_.recording()) set_elements(tape_.gradient_slot(outputs[i]).tensor, seeds);
      run.outputs.push_back(std::move(y));
    }
    if (outputs.empty()) run.outputs.push_back({run.value});
  }

  const OpCase& op_;
  Setup setup_;
  Tape tape_;
  std::vector<Storage> values_;
  std::vector<Storage> gradients_;
};

// Fourth-order central difference of the functional in one element: (8 (f(+h) - f(-h)) - (f(+2h) - f(-2h))) / 12h.
double difference_quotient(Runner& runner, Values& inputs, Values& weights, double& element) {
  double at = element;
  auto f = [&](double offset) {
    element = at + offset;
    return runner.forward(inputs, weights).value;
  };
  double quotient = (8 * (f(kStep) - f(-kStep)) - (f(2 * kStep) - f(-2 * kStep))) / (12 * kStep);
  element = at;
  return quotient;
}

// Error of a difference quotient: h^4 / 30 times the fifth derivative, which the operations here keep below 1000 for
// operands of order one, and the rounding of the values, whose weights sum to 18 / 12h.
double difference_error(const Outcome& run) {
  return std::pow(kStep, 4) / 30 * 1000 + 18.0 / (12 * kStep) * 64 * kDoubleRoundoff * run.magnitude;
}

void check_differences(Runner& runner, const OpCase& op, Values& inputs, Values& weights, const Outcome& run,
                       bool of_inputs) {
  Values& values = of_inputs ? inputs : weights;
  const Values& gradients = of_inputs ? run.input_gradients : run.weight_gradients;
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string& name = (of_inputs ? op.inputs : op.weights)[i].name;
    std::vector<double> quotients;
    for (double& element : values[i]) quotients.push_back(difference_quotient(runner, inputs, weights, element));
    double norm = 0, error = 0;
    for (size_t k = 0; k < quotients.size(); ++k) {
      norm += quotients[k] * quotients[k];
      error += std::pow(gradients[i][k] - quotients[k], 2);
    }
    double bound = difference_error(run) * std::sqrt(static_cast<double>(quotients.size()));
    EXPECT_LE(std::sqrt(error), bound) << "gradient of " << name;
    // A bound that a wrong gradient could slip through would prove nothing.
    EXPECT_LE(bound, 1e-6 * std::sqrt(norm)) << "the functional hardly depends on " << name;
  }
}

struct Compared {
  Outcome fast;
  Outcome reference;
};

Compared compare(const OpCase& op, const Precision& fast, const Precision& reference, bool rounded) {
  Context ctx(2);
  Values inputs = random_operands(op.inputs, 1), weights = random_operands(op.weights, 2);
  if (rounded) {
    round_operands(op.inputs, inputs);
    round_operands(op.weights, weights);
  }
  auto gradients = [&](const Precision& precision) {
    return Runner(ctx, op, {.precision = precision, .bf16_seeds = rounded}).gradients(inputs, weights);
  };
  return {gradients(fast), gradients(reference)};
}

void expect_close(const OpCase& op, const Compared& runs, double bound) {
  for (size_t i = 0; i < runs.reference.outputs.size(); ++i) {
    EXPECT_LE(relative_error(runs.fast.outputs[i], runs.reference.outputs[i]), bound) << "output " << i;
  }
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    EXPECT_LE(relative_error(runs.fast.input_gradients[i], runs.reference.input_gradients[i]), bound)
        << "gradient of " << op.inputs[i].name;
  }
  for (size_t i = 0; i < op.weights.size(); ++i) {
    EXPECT_LE(relative_error(runs.fast.weight_gradients[i], runs.reference.weight_gradients[i]), bound)
        << "gradient of " << op.weights[i].name;
  }
}

// `after` is what a second contribution makes of `once`: twice as much, up to rounding.
void expect_doubled(const std::vector<double>& after, std::vector<double> once, double bound, const std::string& name) {
  for (double& v : once) v *= 2;
  EXPECT_LE(relative_error(after, once), bound) << "gradient of " << name;
}

// See Float32AgreesWithReference.
double float32_bound(const OpCase& op) { return static_cast<double>(op.longest_sum + 32) * kUnitRoundoff; }

}  // namespace

std::vector<double> elements_of(const Tensor& t) {
  std::vector<double> out;
  for (int64_t r = 0; r < t.rows(); ++r) {
    for (int64_t i = 0; i < t.row_size(); ++i) out.push_back(load_element(t, r, i));
  }
  return out;
}

void set_elements(const Tensor& t, const std::vector<double>& values) {
  for (int64_t r = 0; r < t.rows(); ++r) {
    for (int64_t i = 0; i < t.row_size(); ++i) {
      store_element(t, r, i, values[static_cast<size_t>(r * t.row_size() + i)]);
    }
  }
}

double relative_error(const std::vector<double>& got, const std::vector<double>& expected) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (got[i] == expected[i]) {
      if (std::isfinite(got[i])) norm += expected[i] * expected[i];
      continue;
    }
    error += (got[i] - expected[i]) * (got[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  double ratio = error == 0 ? 0 : std::sqrt(error / norm);
  return got.size() == expected.size() && std::isfinite(ratio) ? ratio : std::numeric_limits<double>::infinity();
}

std::ostream& operator<<(std::ostream& out, const OpCase& op) { return out << op.name; }

std::string op_name(const testing::TestParamInfo<OpCase>& info) { return info.param.name; }

TEST_P(OpCheck, GradientAgreesWithFiniteDifferences) {
  const OpCase& op = GetParam();
  Context ctx(1);
  Values inputs = random_operands(op.inputs, 1), weights = random_operands(op.weights, 2);
  Runner runner(ctx, op, {Precision::reference()});
  Outcome run = runner.gradients(inputs, weights);
  check_differences(runner, op, inputs, weights, run, true);
  check_differences(runner, op, inputs, weights, run, false);
}

// A sum of n products is off by at most n units of roundoff relative to the sum of the magnitudes (Higham 2002, section
// 3.1); the 32 are for the elementary functions and the few sums of other lengths around it. The sum of the magnitudes
// exceeds a random sum by about sqrt(n), which rounding errors, as random as the operands, give back.
TEST_P(OpCheck, Float32AgreesWithReference) {
  const OpCase& op = GetParam();
  Compared runs = compare(op, Precision::float32(), Precision::reference(), false);
  expect_close(op, runs, float32_bound(op));
}

// Each rounding to bfloat16 moves a value by at most one unit of roundoff; twice that, because differences of rounded
// values (softmax gradients, norms) can be smaller than what was rounded.
TEST_P(OpCheck, Bfloat16AgreesWithReference) {
  const OpCase& op = GetParam();
  if (!has_bf16_products(choose_isa())) GTEST_SKIP() << "no bfloat16 products on this instruction set";
  Compared runs = compare(op, Precision::bfloat16(), Precision::reference(), true);
  expect_close(op, runs, 2 * op.bf16_roundings * kBf16UnitRoundoff);
}

// The reference that rounds where a bf16 run rounds differs from it only where float32 noise decides a rounding: at
// each of them one element in 16 at the very most, by two units of roundoff. The roundings are independent of each
// other.
TEST_P(OpCheck, Bfloat16RoundsWhereItsReferenceRounds) {
  const OpCase& op = GetParam();
  if (!has_bf16_products(choose_isa())) GTEST_SKIP() << "no bfloat16 products on this instruction set";
  Compared runs = compare(op, Precision::bfloat16(), Precision::reference_bf16(), true);
  expect_close(op, runs, std::sqrt(op.bf16_roundings) * 2 * kBf16UnitRoundoff / 4);
}

TEST_P(OpCheck, GradientsOfWeightsAddUpOverPasses) {
  const OpCase& op = GetParam();
  Context ctx(2);
  Values inputs = random_operands(op.inputs, 1), weights = random_operands(op.weights, 2);
  Outcome once = Runner(ctx, op, {Precision::reference()}).gradients(inputs, weights);
  Outcome twice = Runner(ctx, op, {.precision = Precision::reference(), .passes = 2}).gradients(inputs, weights);
  for (size_t i = 0; i < op.weights.size(); ++i) {
    expect_doubled(twice.weight_gradients[i], once.weight_gradients[i], 4 * kDoubleRoundoff, op.weights[i].name);
  }
  // Inputs belong to one pass.
  EXPECT_EQ(twice.input_gradients, once.input_gradients);
}

TEST_P(OpCheck, GradientsOfSeveralConsumersAddUp) {
  const OpCase& op = GetParam();
  if (!op.inputs_are_shareable) GTEST_SKIP() << "one consumer per input";
  Context ctx(2);
  Values inputs = random_operands(op.inputs, 1), weights = random_operands(op.weights, 2);
  for (const Precision& precision : {Precision::reference(), Precision::float32()}) {
    Outcome once = Runner(ctx, op, {precision}).gradients(inputs, weights);
    Outcome twice = Runner(ctx, op, {.precision = precision, .applications = 2}).gradients(inputs, weights);
    for (size_t i = 0; i < op.inputs.size(); ++i) {
      double bound = precision == Precision::reference() ? 4 * kDoubleRoundoff : float32_bound(op);
      expect_doubled(twice.input_gradients[i], once.input_gradients[i], bound, op.inputs[i].name);
    }
  }
}

TEST_P(OpCheck, NumberOfThreadsDoesNotMatter) {
  const OpCase& op = GetParam();
  Values inputs = random_operands(op.inputs, 1), weights = random_operands(op.weights, 2);
  Context one(1), three(3);
  Outcome a = Runner(one, op, {Precision::float32()}).gradients(inputs, weights);
  Outcome b = Runner(three, op, {Precision::float32()}).gradients(inputs, weights);
  EXPECT_EQ(a.outputs, b.outputs);
  EXPECT_EQ(a.input_gradients, b.input_gradients);
  EXPECT_EQ(a.weight_gradients, b.weight_gradients);
}

}  // namespace tandem::test
