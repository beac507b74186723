"""Changes that are no mistakes: nothing that the package promises is different, and so no test can see them.

Name of the mutation → why.
"""

from __future__ import annotations

SAME_AT_ZERO = "At 0 both sides give the same number: u = 1 there."
SAME_DTYPE = "All arguments of the op have one dtype."
SAME_PRODUCT = "Both ways are the same product; which is faster is another matter."
SAME_SHAPE = "Both have the same shape: any other is refused."
DOUBLE = "Added in float64 it has at least the digits that are promised; only the time is another matter."
LAST_AXIS = "The last axis of two is the second."
NEGATIVE_LENGTH = "NumPy takes every negative length for −1."
BROADCASTS = "Zeros of any trailing axes of x broadcast to the same result; which of them is fastest is another matter."
NO_CLASS = "One more class, which never occurs, is never counted or drawn."
ONE_LAUNCH = "The kernel and CuPy's own sums give the same; which is faster is another matter."
SAME_PLANE = "Both ways give the same plane; which is faster is another matter."
BEFORE_THE_FIRST = "What was there before the first samples is multiplied by e^−∞ = 0."
SYMMETRIC = "A normal density stays the same when a point and its mean change places."
ANY_SMALL_MODEL = "A model of any size shows a wrong gradient; it is small so that the check is quick."

EQUIVALENTS = {
    "dense_backward: (matrix @ g.T).T if len(g) < FEW_ROWS else g @ matrix.T → (matrix @ g.T).T": SAME_PRODUCT,
    "dense_backward: (matrix @ g.T).T if len(g) < FEW_ROWS else g @ matrix.T → g @ matrix.T": SAME_PRODUCT,
    "dense_backward: len(g) < FEW_ROWS → len(g) <= FEW_ROWS": SAME_PRODUCT,
    "dense_backward: len(g) < FEW_ROWS → len(g) > FEW_ROWS": SAME_PRODUCT,
    "dense_backward: g → matrix (3)": SAME_PRODUCT,
    "over_terms: g if len(set(shapes)) == 1 else xp.broadcast_to(g, np.broadcast_shapes(*shapes)) → "
    "xp.broadcast_to(g, np.broadcast_shapes(*shapes))": "Where the shapes are equal, the ops broadcast g themselves.",
    "gumbel_softmax_forward: logits → noise": SAME_DTYPE,
    "gumbel_softmax_forward: logits → noise (2)": SAME_DTYPE,
    "kl_uniform_forward: logits → shifted (5)": SAME_SHAPE,
    "sigmoid_forward: x > 0 → x >= 0": SAME_AT_ZERO,
    "softplus_forward: x > 0 → x >= 0": SAME_AT_ZERO,
    "reparameterize_variance_forward: r > 0 → r >= 0": SAME_AT_ZERO,
    "bernoulli_nll_backward: logits > 0 → logits >= 0": SAME_AT_ZERO,
    "bernoulli_nll_forward: logits > 0 → logits >= 0": "At 0 the factor [ℓ > 0] − x is multiplied by ℓ = 0.",
    "relu_forward: out → x (2)": "What is saved is asked only where it is positive, and that x is where the result is.",
    "relu_forward: -1 → 1": BROADCASTS,
    "relu_forward: 1 → 2": BROADCASTS,
    "elu_backward: 0 → 1 (2)": "min(x, 1) keeps the exponential from overflowing too, and above 0 it is multiplied by 0.",
    "unbroadcast: add_up(g, stretched, keepdims=True) if stretched else g → add_up(g, stretched, keepdims=True)": (
        "A sum over no axes is the array itself."
    ),
    "add_up: x.dtype == np.float32 → x.dtype != np.float32": DOUBLE,
    "add_up: x.dtype == np.float32 → x.dtype != np.float32 (2)": DOUBLE,
    "add_up: x.ndim > 1 → x.ndim < 1": DOUBLE,
    "add_up: x.ndim > 1 → x.ndim >= 1": "A single axis has the same digits in groups.",
    "add_up: 1 → 2": DOUBLE,
    "add_up: axes → terms": DOUBLE,
    "add_up: 1 → 2 (3)": NEGATIVE_LENGTH,
    "_h: 0.001 → 0.002": "Between 1e-3 and 2e-3 both ways have the twelve digits that are promised.",
    "_h: xp.abs(s) < 0.001 → xp.abs(s) <= 0.001": "At 1e-3 both ways have the twelve digits that are promised.",
    "reparameterize_variance_forward: 40.0 → 80.0": "Any bound below which softplus is e^raw will do, down to where float32 ends.",
    "logsumexp_forward: (x == top).astype(x.dtype) → x == top": "Beside the exponentials it becomes a float anyway.",
    "logsumexp_forward: top → endless (5)": "Zeros of either kind are the shift 0.",
    "logsumexp_forward: xp.zeros_like → xp.ones_like": "Where the maximum is infinite the shift may be any finite number.",
    "kl_standard_normal_forward: mean → log_var (2)": SAME_DTYPE,
    "kl_normal_forward: mean → log_var": SAME_DTYPE,
    "kl_normal_forward: mean → log_var (4)": SAME_DTYPE,
    "gaussian_nll_forward: mean → log_var (2)": SAME_DTYPE,
    "gaussian_nll_forward: mean → log_var (3)": "The dtype of the slope in log σ², which a number does not have.",
    "_log1p_of_groups: xp.concatenate([pairs, odd], axis=-1) if odd.size else pairs → xp.concatenate([pairs, odd], axis=-1)": (
        "Nothing is appended where nothing is left over."
    ),
    "_log1p_of_groups: odd → u": "Nothing is appended where nothing is left over.",
    "_log1p_of_groups: 2 → 4": "A quarter paired with the next quarter, and the rest left over: fewer pairs, the same sum.",
    "bernoulli_nll_backward: logits → u": "u has the shape of the logits.",
    "bernoulli_nll_backward: logits → u (3)": "u has the shape of the logits.",
    # In the rooms around the ops:
    "training/diagnosis.py: is_finite: sum(trainer.totals.values()) + trainer.model.parameters_.values.sum() → "
    "sum(trainer.totals.values()) - trainer.model.parameters_.values.sum()": "Whether a sum is finite does not depend on a sign.",
    "training/diagnosis.py: is_finite: trainer.model.parameters_.values.sum → trainer.model.parameters_.values.mean": (
        "A mean is finite where the sum is."
    ),
    "training/totals.py: Totals.begin: self._xp.zeros(len(names), dtype='float64') → self._xp.zeros(len(names))": (
        "Zeros are float64 where nothing is said."
    ),
    "training/totals.py: Totals.add: x.dtype == np.float32 and x.flags.c_contiguous and (x.size <= MOST_EXAMPLES) → "
    "x.dtype == np.float32 and x.flags.c_contiguous": ONE_LAUNCH,
    "training/totals.py: Totals.add: x.size <= MOST_EXAMPLES → x.size < MOST_EXAMPLES": ONE_LAUNCH,
    "optim.py: clip_by_norm: (max_norm / xp.maximum(norm, max_norm)).astype(gradients.dtype) → "
    "max_norm / xp.maximum(norm, max_norm)": (
        "Multiplied by a float64, gradients are rounded once less; only the time is another matter."
    ),
    "training/batches.py: Rows.check_finite: 1 → 2": NEGATIVE_LENGTH,
    "training/batches.py: Rows.check_finite: float(extreme) → extreme": "A NumPy number is written like Python's.",
    "nn.py: ParameterVector.__init__: 1 → 2": NEGATIVE_LENGTH,
    "models/autoencoder.py: SparseAutoencoder.penalties: -1 → 1": LAST_AXIS,
    "models/categorical.py: CategoricalVAE.terms: -1 → 1": LAST_AXIS,
    "models/categorical.py: CategoricalVAE.terms_of_test: -1 → 1": LAST_AXIS,
    "models/codebook.py: VQVAE.terms: -1 → 1 (2)": LAST_AXIS,
    "models/codebook.py: VQVAE.terms: -1 → 1 (3)": LAST_AXIS,
    "models/beta_tc.py: BetaTCVAE._log_densities: -1 → 1": LAST_AXIS,
    "models/flow.py: planar_flow: -1 → 1": LAST_AXIS,
    "models/flow.py: planar_flow: -1 → 1 (2)": LAST_AXIS,
    "models/two_layers.py: _heads: -1 → 1": LAST_AXIS,
    "models/generative.py: _one: 1 → 2 (2)": NEGATIVE_LENGTH,
    "models/categorical.py: CategoricalVAE.terms: gumbel_softmax(logits, noise, temperature=self.temperature_now()) → "
    "gumbel_softmax(noise, logits, temperature=self.temperature_now())": "A sum of two of one dtype is the same in either order.",
    "models/generative.py: Generative.interpolate: array_module(start, end) → array_module(end, start)": (
        "Both are on one device: others are refused, whichever is asked first."
    ),
    "models/matching.py: DIPVAE.loss: negative_elbo(terms['reconstruction'], terms['kl']) → "
    "negative_elbo(terms['kl'], terms['reconstruction'])": "Both have the weight 1.",
    "models/semisupervised.py: SemiSupervisedVAE.terms: standard_normal(rng, (c, n, self.latent_dim), mean.dtype).swapaxes(0, 1) → "
    "standard_normal(rng, (c, n, self.latent_dim), mean.dtype).swapaxes(1, 0)": "Two axes change places whichever is named first.",
    "models/likelihoods.py: Bernoulli.output_bias: np.clip(data_mean, 0.001, 0.999) → np.clip(0.001, data_mean, 0.999)": (
        "The larger of the mean and 0.001, and then the smaller of that and 0.999, is the same in either order."
    ),
    "models/matching.py: InfoVAE.pool: mmd(z[part], prior[part], kernel=self.kernel, scale=self.latent_dim) → "
    "mmd(prior[part], z[part], kernel=self.kernel, scale=self.latent_dim)": "A distance is the same from either side.",
    "models/categorical.py: CategoricalVAE.posterior: 1e-30 → 2e-30": "Any floor that keeps the logarithm finite will do.",
    "models/base.py: Model.code_statistics: 1 → 2": NEGATIVE_LENGTH,
    "models/codebook.py: VQVAE.code: 1 → 2": NEGATIVE_LENGTH,
    "models/codebook.py: VQVAE.code_statistics: 1 → 2": NEGATIVE_LENGTH,
    "models/likelihoods.py: GaussianFixed.nll: gaussian_nll(x, outputs, self.log_var) → "
    "gaussian_nll(outputs, x, self.log_var)": SYMMETRIC,
    "models/priors.py: Prior.kl: gaussian_nll(z, q_mean, q_log_var) → gaussian_nll(q_mean, z, q_log_var)": SYMMETRIC,
    "models/priors.py: Prior.standard_nll: gaussian_nll(z, self.xp.zeros_like(z.data), 0.0) → "
    "gaussian_nll(self.xp.zeros_like(z.data), z, 0.0)": SYMMETRIC,
    "models/codebook.py: VQVAE.terms: 1 → 2": NEGATIVE_LENGTH,
    "models/semisupervised.py: SemiSupervisedVAE.importance_estimate: 0.0 → 1": "exp(−∞) is 0 less any finite shift.",
    "models/vae.py: log_softplus: 40.0 → 80.0": "Any bound below which softplus is e^raw will do, down to where float32 ends.",
    "evaluation/aggregate.py: log_weights: xp.eye(n, dtype=bool) → xp.eye(n)": "Where a number is not 0, it counts as true.",
    "evaluation/annealing.py: schedule: 1 → 2": "A curve twice as high, stretched to 1 at its end, is the same curve.",
    "evaluation/annealing.py: schedule: -SHARPNESS → SHARPNESS": (
        "A curve that falls, stretched so that it begins at 0 and ends at 1, is the one that rises."
    ),
    "evaluation/classifier.py: fit_classifier: 1 → 2 (2)": NEGATIVE_LENGTH,
    "evaluation/classifier.py: fit_classifier: 1 → 2 (3)": NEGATIVE_LENGTH,
    "evaluation/disentanglement.py: mutual_information: 1 → 2": "A code that never moves has share 0, whatever the divisor.",
    "evaluation/disentanglement.py: mutual_information: _mutual_information(b, v) → _mutual_information(v, b)": (
        "What z says about v is what v says about z."
    ),
    "evaluation/disentanglement.py: _mutual_information: 1 → 2 (2)": NO_CLASS,
    "evaluation/disentanglement.py: _mutual_information: 1 → 2 (3)": NO_CLASS,
    "evaluation/disentanglement.py: higgins_score: 1 → 2 (7)": NO_CLASS,
    "evaluation/disentanglement.py: higgins_score: 1 → 2 (2)": "A code that never moves has no differences, whatever the divisor.",
    "evaluation/estimators.py: active_units: 1 → 2 (3)": NEGATIVE_LENGTH,
    "evaluation/estimators.py: mean_weight: 0.0 → 1": "Where all weights are 0 the shift may be any finite number.",
    "evaluation/estimators.py: mean_weight: xp.zeros(n) → n": BEFORE_THE_FIRST,
    "evaluation/estimators.py: mean_weight: xp.zeros(n) → n (2)": BEFORE_THE_FIRST,
    "evaluation/estimators.py: perplexity: 1e-300 → 2e-300": "p log p is 0 in floats long before p is so small.",
    "evaluation/factor_scores.py: _by_line: 1 → 2": "A code that never moves has no covariance, whatever the divisor.",
    "evaluation/factor_scores.py: density_mutual_information: 1 → 2": (
        "Two draws at a time instead of one, where even one has more densities than should be in memory."
    ),
    "evaluation/factor_scores.py: factor_vae_score: 1 → 2": "Where every vote counts twice the majority is the same.",
    "evaluation/factor_scores.py: factor_vae_score: np.zeros → np.ones": "One more vote for each factor changes no majority.",
    "evaluation/latent.py: principal_plane: n < d → n <= d": SAME_PLANE,
    "evaluation/latent.py: principal_plane: n < d → n > d": SAME_PLANE,
    "evaluation/latent.py: principal_plane: n < d → not n < d": SAME_PLANE,
    "proof/finite_differences.py: away_from_zero: rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape) → "
    "rng.uniform(0.5, 1.5, shape) / rng.choice([-1.0, 1.0], shape)": "To multiply by ±1 and to divide by it is the same.",
    "proof/finite_differences.py: Functional.probe: 1.0 → 2.0": "The direction is brought to unit length afterwards.",
    "proof/finite_differences.py: Functional.probe: best.uncertainty < 0.01 * self.tolerance * abs(best.numeric) → "
    "best.uncertainty <= 0.01 * self.tolerance * abs(best.numeric)": "No uncertainty is exactly a hundredth of the tolerance.",
    "proof/verify.py: check_models: 1 → 2": ANY_SMALL_MODEL,
    "proof/verify.py: check_models: 2 → 4": ANY_SMALL_MODEL,
    "proof/verify.py: check_models: 3 → 6 (2)": ANY_SMALL_MODEL,
    "proof/verify.py: check_models: 5 → 10": ANY_SMALL_MODEL,
    "proof/verify.py: _precision_rows: report.units < UNITS → report.units <= UNITS": "No error is exactly four roundings.",
    "mmd_forward: x → y (3)": SAME_DTYPE,
    "_pairs: 1 → 2": "n (n − 1) is 0 or at least 2, and 0 divided by 2 is 0.",
    "covariance_forward: x → centred (5)": SAME_SHAPE,
    "log_mixture_forward: mean → log_var": SAME_SHAPE,
    "log_mixture_forward: mean → log_var (4)": SAME_SHAPE,
    "log_mixture_forward: z → mean (6)": SAME_DTYPE,
    "log_mixture_backward: mean → log_var": SAME_SHAPE,
    "log_mixture_backward: mean → log_var (3)": SAME_SHAPE,
    "log_mixture_backward: mean → log_var (4)": SAME_SHAPE,
    "log_mixture_backward: mean → log_var (5)": SAME_SHAPE,
    "log_mixture_backward: z → mean (5)": SAME_DTYPE,
    "_terms: z → mean (2)": SAME_SHAPE,
    "_finite: xp.zeros_like → xp.ones_like": "Where the maximum is infinite the shift may be any finite number.",
}
