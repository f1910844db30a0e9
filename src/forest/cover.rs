//! How much of the training data came to each node of a tree: what SHAP values weigh branches by.

/// Covers of one tree, as its library counts them. 4 bytes a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Cover {
    /// XGBoost: `sum_hessian`, the sum of the rows' second derivatives.
    Hessian { splits: Vec<f32>, leaves: Vec<f32> },
    /// LightGBM: `internal_count` and `leaf_count`, the number of rows.
    Count { splits: Vec<i32>, leaves: Vec<i32> },
}

impl Cover {
    /// The cover of a split; `None` when there is no such split.
    pub fn split(&self, index: usize) -> Option<f64> {
        match self {
            Cover::Hessian { splits, .. } => splits.get(index).copied().map(f64::from),
            Cover::Count { splits, .. } => splits.get(index).copied().map(f64::from),
        }
    }

    /// The cover of a leaf; `None` when there is no such leaf.
    pub fn leaf(&self, index: usize) -> Option<f64> {
        match self {
            Cover::Hessian { leaves, .. } => leaves.get(index).copied().map(f64::from),
            Cover::Count { leaves, .. } => leaves.get(index).copied().map(f64::from),
        }
    }

    /// How many splits and leaves it covers.
    pub fn len(&self) -> (usize, usize) {
        match self {
            Cover::Hessian { splits, leaves } => (splits.len(), leaves.len()),
            Cover::Count { splits, leaves } => (splits.len(), leaves.len()),
        }
    }

    /// Bytes held on the heap.
    pub fn memory_bytes(&self) -> usize {
        let (splits, leaves) = self.len();
        (splits + leaves) * size_of::<u32>()
    }
}
