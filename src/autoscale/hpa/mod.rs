//! What a Kubernetes `HorizontalPodAutoscaler` decides, as pure functions.
