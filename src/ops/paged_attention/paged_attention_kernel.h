// What the CPU kernel of paged_attention reads at bind time, and the data of one run.
#pragma once
#include <cstdint>

namespace floe {

struct PagedSpec {
  int64_t rows = 0, queries = 0, heads = 0, key_heads = 0, width = 0, value_width = 0;
  int64_t q_batch_stride = 0, q_row_stride = 0, q_head_stride = 0;
  int64_t blocks = 0, block = 0, table_width = 0;
  float scale = 1;
  bool causal = false;
};

constexpr int64_t kSharingRows = 16;  // at most in a task

// Rows row..row + rows - 1 name the same keys; more than one only where a row has one query.
struct PagedTask {
  int64_t row, rows, key_head;
};

struct PagedData {
  const float *q, *k, *v;
  const int32_t *table, *lengths;
};

}  // namespace floe
