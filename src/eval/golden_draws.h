// Random choices of prepare() beside recorded statistics of the authors' code.
#pragma once

#include <filesystem>
#include <memory>

#include "eval/parity.h"

namespace tandem {

// What a chi-square variable exceeds once in a million.
double chi_square_bound(double degrees_of_freedom);

// A model of the least sizes: its prepare() is all that is wanted.
ModelConfig smallest_config(Arch arch, int64_t max_seq_len);
std::unique_ptr<Model> smallest_model(const ModelConfig& config);

// `draws` sets of boundaries for rows of `length` tokens.
std::vector<std::vector<int32_t>> drawn_boundaries(const ModelConfig& config, int64_t length, int64_t draws);

// Histograms of as many draws as were recorded: a chi-square test of homogeneity for each (Pearson), at a fixed seed.
// Errors are statistics over the bound that chance exceeds once in a million; also the difference of means over that
// bound of a normal variable, 4.753 standard errors. InputError for a file of another form.
void check_boundary_statistics(ParityCollector& out, const std::filesystem::path& file);
void check_span_statistics(ParityCollector& out, const std::filesystem::path& file);

}  // namespace tandem
