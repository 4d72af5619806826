// Which rows of a step a rank computes, and those rows out of a micro-batch.
#pragma once

#include <cstdint>

#include "arch/model.h"
#include "text/batch.h"

namespace tandem {

// Passes [first_pass, first_pass + passes) of a step's micro-batches, and of each of them rows
// [first_row, first_row + rows).
struct RowShare {
  int64_t first_pass = 0;
  int64_t passes = 1;
  int64_t first_row = 0;
  int64_t rows = 1;

  bool has_pass(int64_t pass) const { return pass >= first_pass && pass < first_pass + passes; }
  bool last_pass(int64_t pass) const { return pass == first_pass + passes - 1; }
  bool operator==(const RowShare&) const = default;
};

// Ranks take whole micro-batches as far as `grad_accum` can be shared out evenly, and share what is left of the
// division by rows. All ranks get the same number of rows. InputError when that is impossible.
RowShare share_of_rows(int64_t micro_batch, int64_t grad_accum, int rank, int ranks);

// Rows [begin, end) of a batch that was prepared as a whole, with what was drawn for them: what the rows of a
// micro-batch look like does not depend on who computes them. `packed`: the batch before it was prepared.
Batch rows_of_prepared(const Model& model, const Batch& packed, const Batch& prepared, int64_t begin, int64_t end);

}  // namespace tandem
