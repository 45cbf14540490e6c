"""The Helm chart, deploy/chart, from which every manifest is made."""
