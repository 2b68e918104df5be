// Pairing rows with columns by their overlap, for host and device; no torch, no standard
// containers. Only pairs above the threshold count, and NaN is above nothing.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace pyvqa::masks {

enum class MatchRule : int64_t { first = 0, best, greedy, optimal };

struct Overlaps {
  const double* values;  // [rows, columns]
  int64_t rows, columns;
  double threshold;

  PV_HD double at(int64_t row, int64_t column) const { return values[row * columns + column]; }
  PV_HD bool counts(int64_t row, int64_t column) const { return at(row, column) > threshold; }
};

namespace {

// The first column of a row that counts, or -1.
PV_HD int64_t first_column(const Overlaps& o, int64_t row) {
  for (int64_t column = 0; column < o.columns; ++column) {
    if (o.counts(row, column)) return column;
  }
  return -1;
}

// The column of a row with the largest overlap among those that count, the first of equals, or -1.
// Columns for which taken[column] >= 0 are left out.
PV_HD int64_t best_column(const Overlaps& o, int64_t row, const int64_t* taken) {
  int64_t best = -1;
  for (int64_t column = 0; column < o.columns; ++column) {
    if (taken != nullptr && taken[column] >= 0) continue;
    if (!o.counts(row, column)) continue;
    if (best < 0 || o.at(row, column) > o.at(row, best)) best = column;
  }
  return best;
}

// The same for a column; rows for which matched[row] >= 0 are left out.
PV_HD int64_t best_row(const Overlaps& o, int64_t column, const int64_t* matched) {
  int64_t best = -1;
  for (int64_t row = 0; row < o.rows; ++row) {
    if (matched[row] >= 0 || !o.counts(row, column)) continue;
    if (best < 0 || o.at(row, column) > o.at(best, column)) best = row;
  }
  return best;
}

// 64-bit words of memory that assign() needs.
PV_HD int64_t assignment_words(int64_t rows, int64_t columns) {
  const int64_t fewer = rows < columns ? rows : columns, more = rows < columns ? columns : rows;
  return fewer + 1 + 5 * (more + 1);
}

struct Nearest {
  double distance;
  int64_t column;
};

PV_HD Nearest nearer(const Nearest& a, const Nearest& b) {  // the first of equals
  return b.distance < a.distance || (b.distance == a.distance && b.column < a.column) ? b : a;
}

// One-to-one pairs with the largest sum of overlaps: the Hungarian method on the shorter side, by
// shortest augmenting paths with potentials. Everyone of a team does the same steps and shares the
// loops over columns: `team.index` of `team.size`, `team.wait()` and `team.nearest(own)`. Pairs
// that do not count weigh nothing. Columns are numbered from 1, and 0 is where a path starts.
template <class Team>
struct Assignment {
  Overlaps o;
  Team team;
  bool turned;  // the method's rows are our columns
  int64_t rows, columns;
  double *row_potential, *column_potential, *distance;
  int64_t *row_of, *came_from, *visited;

  PV_HD Assignment(const Overlaps& overlaps, const Team& workers, int64_t* memory)
      : o(overlaps), team(workers), turned(overlaps.rows > overlaps.columns) {
    rows = turned ? o.columns : o.rows;
    columns = turned ? o.rows : o.columns;
    row_potential = reinterpret_cast<double*>(memory);
    column_potential = row_potential + rows + 1;
    distance = column_potential + columns + 1;
    row_of = reinterpret_cast<int64_t*>(distance + columns + 1);
    came_from = row_of + columns + 1;
    visited = came_from + columns + 1;
  }

  PV_HD double cost(int64_t row, int64_t column) const {
    constexpr double kLargest = 1e150;  // infinite overlaps count as this, so that sums stay finite
    const int64_t r = turned ? column - 1 : row - 1, c = turned ? row - 1 : column - 1;
    if (!o.counts(r, c)) return 0;
    const double overlap = o.at(r, c);
    return overlap < 0 ? 0 : overlap > kLargest ? -kLargest : -overlap;
  }

  // One step of a path: from `column`, over its row, to the nearest column not yet visited.
  PV_HD Nearest step(int64_t column) {
    const int64_t row = row_of[column];
    Nearest own{HUGE_VAL, columns + 1};
    for (int64_t j = 1 + team.index; j <= columns; j += team.size) {
      if (visited[j]) continue;
      const double reach = cost(row, j) - row_potential[row] - column_potential[j];
      if (reach < distance[j]) {
        distance[j] = reach;
        came_from[j] = column;
      }
      own = nearer(own, {distance[j], j});
    }
    return team.nearest(own);
  }

  PV_HD void move_potentials(double by) {
    for (int64_t j = team.index; j <= columns; j += team.size) {
      if (visited[j]) {
        row_potential[row_of[j]] += by;
        column_potential[j] -= by;
      } else {
        distance[j] -= by;
      }
    }
  }

  PV_HD void add_row(int64_t row) {
    for (int64_t j = team.index; j <= columns; j += team.size) {
      distance[j] = HUGE_VAL;
      visited[j] = 0;
    }
    team.wait();
    if (team.index == 0) row_of[0] = row;
    int64_t column = 0;
    do {
      if (team.index == 0) visited[column] = 1;
      team.wait();
      const Nearest next = step(column);
      move_potentials(next.distance);
      column = next.column;
      team.wait();
    } while (row_of[column] != 0);
    team.wait();  // everyone has seen that the path ends here
    if (team.index == 0) {
      while (column != 0) {
        row_of[column] = row_of[came_from[column]];
        column = came_from[column];
      }
    }
    team.wait();
  }

  PV_HD void run(int64_t* matched) {
    for (int64_t j = team.index; j <= columns; j += team.size) row_of[j] = 0;
    for (int64_t j = team.index; j <= columns; j += team.size) column_potential[j] = 0;
    for (int64_t i = team.index; i <= rows; i += team.size) row_potential[i] = 0;
    for (int64_t i = team.index; i < o.rows; i += team.size) matched[i] = -1;
    team.wait();
    for (int64_t row = 1; row <= rows; ++row) add_row(row);
    for (int64_t j = 1 + team.index; j <= columns; j += team.size) {
      if (row_of[j] == 0) continue;
      const int64_t r = turned ? j - 1 : row_of[j] - 1, c = turned ? row_of[j] - 1 : j - 1;
      if (o.counts(r, c)) matched[r] = c;
    }
  }
};

}  // namespace
}  // namespace pyvqa::masks
