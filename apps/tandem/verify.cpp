// verify: our numbers beside those that the papers' own code produced.
#include <CLI/CLI.hpp>
#include <filesystem>

#include "base/json.h"
#include "eval/golden_collators.h"
#include "eval/parity.h"
#include "output.h"
#include "verbs.h"
#include "verify_training.h"

namespace tandem::app {
namespace {

struct VerifyOptions {
  std::vector<std::string> cases;
  int threads = 0;
  bool json = false;
};

struct CaseResult {
  GoldenCase golden;
  ParityReport float32;
  // bfloat16 run and the double-precision run that rounds where it rounds; only where the machine has bf16 products.
  std::optional<ParityReport> bf16;
  std::optional<ParityReport> bf16_reference;
};

ParityReport check(Context& ctx, const GoldenCase& golden, const Precision& precision, bool judge) {
  switch (golden.kind) {
    case GoldenKind::forward: return check_forward(ctx, golden, precision, judge);
    case GoldenKind::generation: return check_generation(ctx, golden, precision, judge);
    case GoldenKind::training: return check_training(ctx, golden, precision, judge);
    case GoldenKind::collators: return check_collators(golden.folder);
  }
  return {};
}

CaseResult run_case(Context& ctx, const std::string& folder) {
  CaseResult result;
  result.golden = read_golden_case(folder);
  result.float32 = check(ctx, result.golden, Precision::float32(), true);
  if (result.golden.kind != GoldenKind::collators && has_bf16_products(ctx.isa())) {
    result.bf16 = check(ctx, result.golden, Precision::bfloat16(), false);
    result.bf16_reference = check(ctx, result.golden, Precision::reference_bf16(), false);
  }
  return result;
}

OrderedJson checks_json(const ParityReport& report) {
  OrderedJson list = OrderedJson::array();
  for (const ParityCheck& c : report.checks) {
    OrderedJson item{{"class", c.tensor_class}, {"measure", c.measure}, {"worst", c.worst}, {"tensor", c.tensor}};
    item["tolerance"] = c.tolerance ? OrderedJson(*c.tolerance) : OrderedJson(nullptr);
    item["ok"] = c.ok;
    item["compared"] = c.compared;
    list.push_back(item);
  }
  return list;
}

OrderedJson case_json(const CaseResult& result) {
  bool of_a_model = result.golden.kind != GoldenKind::collators;
  OrderedJson out{{"name", result.golden.name},
                  {"ok", result.float32.ok()},
                  {"arch", of_a_model ? OrderedJson(arch_name(result.golden.config.arch)) : OrderedJson(nullptr)},
                  {"precision", "float32"},
                  {"checks", checks_json(result.float32)}};
  if (result.bf16) out["bf16"] = checks_json(*result.bf16);
  if (result.bf16_reference) out["bf16_reference"] = checks_json(*result.bf16_reference);
  return out;
}

const ParityCheck* same_class(const std::optional<ParityReport>& report, const std::string& name) {
  if (!report) return nullptr;
  for (const ParityCheck& c : report->checks) {
    if (c.tensor_class == name) return &c;
  }
  return nullptr;
}

void print_collators(const CaseResult& result) {
  fmt::print("     {:<24} {:>8} {:>11}  {:<24}  {}\n", "class", "compared", "worst", "measure", "worst case");
  for (const ParityCheck& c : result.float32.checks) {
    fmt::print("     {:<24} {:>8} {:>11.3g}  {:<24}  {}\n", c.tensor_class, c.compared, c.worst, c.measure,
               c.worst > 0 ? c.tensor : "-");
  }
}

void print_case(const CaseResult& result) {
  fmt::print("{} {}\n", result.float32.ok() ? "ok  " : "FAIL", result.golden.name);
  if (result.golden.kind == GoldenKind::collators) return print_collators(result);
  fmt::print("     {:<16} {:>11} {:>11} {:>11} {:>11}  {}\n", "class", "float32", "tolerance", "bf16", "bf16 ref.",
             "worst tensor (float32)");
  for (const ParityCheck& c : result.float32.checks) {
    auto number = [](const ParityCheck* check) { return check ? fmt::format("{:.2e}", check->worst) : "-"; };
    fmt::print("     {:<16} {:>11.2e} {:>11} {:>11} {:>11}  {}\n", c.tensor_class, c.worst,
               c.tolerance ? fmt::format("{:.1e}", *c.tolerance) : "-", number(same_class(result.bf16, c.tensor_class)),
               number(same_class(result.bf16_reference, c.tensor_class)), c.tensor);
  }
}

int run_verify(const VerifyOptions& options) {
  Context ctx(options.threads);
  bool ok = true;
  OrderedJson cases = OrderedJson::array();
  for (const std::string& folder : options.cases) {
    CaseResult result = run_case(ctx, folder);
    ok = ok && result.float32.ok();
    if (options.json) {
      cases.push_back(case_json(result));
    } else {
      print_case(result);
    }
  }
  if (options.json) {
    OrderedJson out{{"ok", ok}, {"isa", isa_name(ctx.isa())}, {"threads", ctx.pool().threads()}, {"cases", cases}};
    write_json(out);
  } else {
    fmt::print("{} on {}\n", ok ? "all cases agree" : "SOME CASES DIFFER", isa_name(ctx.isa()));
  }
  return ok ? 0 : 1;
}

}  // namespace

void add_verify_verb(CLI::App& app, Action& action) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* verb = app.add_subcommand("verify", "compare with golden cases: worst error per class of tensors");
  verb->add_option("CASE", options->cases, "folders of golden cases")->required();
  verb->add_option("--threads", options->threads, "threads; 0: all cores")->check(CLI::Range(0, 1024));
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options, &action] { action = [options] { return run_verify(*options); }; });
}

}  // namespace tandem::app
