"""Many runs together: experiments, comparisons and claims."""
