// Batches that must be equal in everything that a model may read.
#pragma once

#include <gtest/gtest.h>

#include "text/batch.h"

namespace tandem::test {

inline void expect_same(const ReaderSide& a, const ReaderSide& b) {
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.positions, b.positions);
  EXPECT_EQ(a.sequences, b.sequences);
}

inline void expect_same(const WriterSide& a, const WriterSide& b) {
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.positions, b.positions);
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_EQ(a.blocks, b.blocks);
}

inline void expect_same(const Batch& a, const Batch& b) {
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.length, b.length);
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.positions, b.positions);
  EXPECT_EQ(a.segments, b.segments);
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_EQ(a.roles, b.roles);
  EXPECT_EQ(a.isolated, b.isolated);
  EXPECT_EQ(a.objective, b.objective);
  EXPECT_EQ(a.boundaries, b.boundaries);
  EXPECT_EQ(a.prefixes, b.prefixes);
  EXPECT_EQ(a.spans, b.spans);
  EXPECT_EQ(a.two_sided, b.two_sided);
  expect_same(a.reader, b.reader);
  expect_same(a.writer, b.writer);
}

}  // namespace tandem::test
